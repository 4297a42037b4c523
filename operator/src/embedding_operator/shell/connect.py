"""Credentials for both clients: a pod's service account, else the kubeconfig of the user."""

from collections.abc import Awaitable, Callable
from typing import Any

import kopf
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from embedding_operator.errors import NoCluster
from embedding_operator.shell.connection import proxy_of

__all__ = ["kopf_login", "load"]


async def load() -> Configuration:
    """Raises NoCluster when there are none."""
    configuration = Configuration()
    try:
        config.load_incluster_config(configuration)
    except config.ConfigException:
        try:
            await config.load_kube_config(client_configuration=configuration)
        except config.ConfigException as error:
            raise NoCluster(f"found neither a pod's service account nor a usable kubeconfig: {error}") from error
    return configuration


def kopf_login(configuration: Configuration) -> Callable[..., Awaitable[kopf.ConnectionInfo]]:
    """kopf calls this at its start, and again when its token is refused; the token is then read anew."""

    async def login(**_: Any) -> kopf.ConnectionInfo:
        header = await configuration.get_api_key_with_prefix("BearerToken") or ""
        scheme, token = header.rpartition(" ")[::2]
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme=scheme or None,
            token=token or None,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            proxy_url=proxy_of(configuration),
        )

    return login
