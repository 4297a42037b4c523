"""Requests to the API server of a kubeconfig."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import Configuration
from yarl import URL

__all__ = ["Access", "Client", "Json", "RequestFailed", "access", "connect"]

Json = dict[str, Any]

_CONNECTIONS = 16
_LONGEST_LINE = 2**22  # bytes; one watch event


class RequestFailed(Exception):
    """The API server rejected a request; the message says which and why."""

    def __init__(self, call: str, status: int, text: str) -> None:
        super().__init__(f"{call}: {status} {text[:300]}")
        self.status = status


@dataclass(frozen=True)
class Access:
    """The address of the API server and the credentials."""

    server: URL
    tls: ssl.SSLContext | bool
    headers: Mapping[str, str]


async def access(kubeconfig: Path) -> Access:
    """Reads a kubeconfig. Raises kubernetes' ConfigException if it cannot be used."""
    configuration = Configuration()
    await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
    token = await configuration.get_api_key_with_prefix("BearerToken")
    tls: ssl.SSLContext | bool = True
    if configuration.host.startswith("https:"):
        tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        if configuration.cert_file:
            tls.load_cert_chain(configuration.cert_file, configuration.key_file)
    return Access(URL(configuration.host), tls, {"Authorization": token} if token else {})


class Client:
    """Sends requests; after 429 it waits for as long as the server says, and repeats."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def get(self, path: str, **query: str) -> Json:
        """Read an object or a list."""
        return await self._send("GET", path, query=query)

    async def create(self, path: str, obj: Json) -> None:
        """Create an object in the collection at `path`."""
        await self._send("POST", path, body=obj)

    async def merge(self, path: str, patch: Json) -> None:
        """Apply a JSON merge patch."""
        await self._send("PATCH", path, body=patch, content_type="application/merge-patch+json")

    async def delete(self, path: str, **query: str) -> None:
        """Delete an object or a collection; no error if it does not exist."""
        try:
            await self._send("DELETE", path, query=query)
        except RequestFailed as error:
            if error.status != 404:  # noqa: PLR2004 HTTP's not found
                raise

    async def watch(self, path: str, **query: str) -> AsyncIterator[bytes]:
        """The events of one watch, as JSON texts, until the server ends it. It starts with the existing objects."""
        timeout = aiohttp.ClientTimeout(total=None)
        async with self._session.get(path, params={**query, "watch": "true"}, timeout=timeout) as response:
            if response.status != 200:  # noqa: PLR2004 HTTP's ok
                raise RequestFailed(f"watch {path}", response.status, await response.text())
            async for line in response.content:
                yield line

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        data = None if body is None else json.dumps(body)
        while True:
            request = self._session.request(
                method, path, params=query, data=data, headers={"Content-Type": content_type}
            )
            async with request as response:
                if response.status == 429:  # noqa: PLR2004 HTTP's too many requests: a new CRD says so, too
                    await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
                    continue
                text = await response.text()
                if response.status >= 300:  # noqa: PLR2004 HTTP's own line between done and not done
                    raise RequestFailed(f"{method} {path}", response.status, text)
                answer: Json = json.loads(text)
                return answer


@asynccontextmanager
async def connect(to: Access) -> AsyncIterator[Client]:
    """A client while the context lasts."""
    connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=to.tls)
    async with aiohttp.ClientSession(
        to.server, connector=connector, headers=to.headers, read_bufsize=_LONGEST_LINE
    ) as session:
        yield Client(session)
