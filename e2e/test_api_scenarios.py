"""The scenarios of the fake API server hold for the real one: what the operator's tests stand on."""

import ssl
from collections.abc import AsyncIterator

import aiohttp
import pytest
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from support.api_scenarios import SCENARIOS, Api

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""aiohttp leaves the transport of a watch that was cut to the event loop, which may be closed before it."""


@pytest.fixture
async def api(namespace: str) -> AsyncIterator[Api]:
    configuration = Configuration()
    await config.load_kube_config(client_configuration=configuration)
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    context.load_cert_chain(configuration.cert_file, configuration.key_file)
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, connector_owner=False) as session:
        yield Api(session, configuration.host, namespace)
    await connector.close(abort_ssl=True)  # no goodbye to watches that are still open


NEEDS_AGE = {"watch_from_too_old_a_version_is_expired"}
"""An API server forgets after five minutes: one that has just started remembers everything."""


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each not in NEEDS_AGE])
async def test_the_real_api_server_behaves_like_the_fake(scenario: str, api: Api) -> None:
    await SCENARIOS[scenario](api)
