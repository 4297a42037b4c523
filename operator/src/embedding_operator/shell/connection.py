"""Connections to one API server, with the credentials of the official client and nothing else of it.

Its `call_api` looks into netrc for each request (aiohttp's `trust_env`) and serializes through generated models: more
time than the requests themselves. Its configuration has the TLS context and the token, which it reads anew in time.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client import ApiClient, Configuration

from embedding_operator.constants import FIELD_MANAGER

__all__ = ["Connection", "open_connection", "proxy_of"]

_HEADERS = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}


class Connection:
    """A pool of connections. Made by `open_connection`."""

    def __init__(self, configuration: Configuration, session: aiohttp.ClientSession) -> None:
        self._configuration = configuration
        self._session = session
        self._host = configuration.host.rstrip("/")
        self._proxy = proxy_of(configuration)
        self._options = (
            {"server_hostname": configuration.tls_server_name}
            if getattr(configuration, "tls_server_name", None)
            else {}
        )

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        limits: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request. Raises what aiohttp raises, and TimeoutError."""
        headers = dict(_HEADERS)
        if token := await self._configuration.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        if body is not None:
            headers["Content-Type"] = content_type
        async with self._session.request(
            method,
            f"{self._host}{path}",
            params=query,
            data=body,
            headers=headers,
            timeout=limits,
            proxy=self._proxy,
            proxy_headers=self._configuration.proxy_headers if self._proxy else None,
            **self._options,
        ) as response:
            yield response


@asynccontextmanager
async def open_connection(configuration: Configuration) -> AsyncIterator[Connection]:
    """Raises OSError where certificates cannot be read."""
    tls = ApiClient(configuration).rest_client.ssl_context
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls, limit=0), trust_env=False) as session:
        yield Connection(configuration, session)


def proxy_of(configuration: Configuration) -> str | None:
    """The proxy on the way to the API server: the kubeconfig's, else HTTPS_PROXY and the like, unless NO_PROXY has it.

    Asked once: the environment of a process does not change.
    """
    if configuration.proxy:
        proxy: str = configuration.proxy
        return proxy
    address = urlsplit(configuration.host)
    if address.hostname is None or proxy_bypass(address.hostname):
        return None
    return getproxies().get(address.scheme)
