"""A client of web servers: requests from several threads, proxies, certificates, redirects, and who gets a secret."""

import base64
import email.utils
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import unquote, urljoin

from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Timeout, Url, parse_url

from embedding_runtime.storage.connections import POOLS
from embedding_runtime.storage.errors import Interrupted
from embedding_runtime.storage.proxies import PORTS, Proxies

__all__ = ["Authorization", "Client", "FixedHeaders", "Refused"]

_TIMEOUT = Timeout(connect=20, read=30)
"""Seconds without a byte."""

_CONNECTIONS = 8
_MOST_REDIRECTS = 10
_MAY_PASS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_LONGEST_MESSAGE = 1000
_LONGEST_SKIPPED = 64 << 10
"""Bytes of a body without interest that are read, so that its connection can be used again."""

_HEADERS = {"User-Agent": "embedding-storage", "Accept-Encoding": "identity"}


class Refused(Exception):
    """A status of the request itself, which a retry cannot change."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str], server: str | None = None) -> None:
        """`server`: who answered, if it was not the source's server alone."""
        super().__init__(f"{server or 'the server'} answered {status} {words}".strip())
        self.status, self.words, self.headers = status, words, headers


class Authorization(Protocol):
    """Headers for the server of a URL, and for no other one that it redirects to. Thread-safe."""

    def headers(self) -> Mapping[str, str]:
        """The current ones."""
        ...

    def renew(self, used: Mapping[str, str], challenge: str, client: "Client") -> bool:
        """The server answered 401 to those used. Returns whether there are others now. Raises NoModel, Interrupted."""
        ...


class FixedHeaders:
    """The same headers always."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def renew(self, _used: Mapping[str, str], _challenge: str, _client: "Client") -> bool:
        """There are no others."""
        return False


class Client:
    """Thread-safe. Proxies and the system's certificates come from the environment, as for other programs."""

    def __init__(self, authorities: str | None = None, authorization: Authorization | None = None) -> None:
        """`authorities`: certificates that are trusted besides the system's."""
        self._authorities, self._authorization = authorities, authorization or FixedHeaders({})
        self._proxies = Proxies()
        self._pools: dict[tuple[str | None, Url | None], PoolManager] = {}
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connections."""
        for pools in self._pools.values():
            pools.clear()

    @contextmanager
    def get(
        self, url: str, headers: Mapping[str, str] | None = None, authorization: Authorization | None = None
    ) -> Iterator[BaseHTTPResponse]:
        """A response whose body is not read yet. Raises Interrupted, Refused; the former also while the block reads.

        Raises NoModel for a proxy that is not valid, and what `authorization` does.

        `authorization`: another one than the client's.
        """
        first = _parsed(url)
        response, then = self._authorized(first, headers or {}, authorization or self._authorization)
        try:
            with self._asking(first, then):
                _check_status(response, self._asked(first, then))
                yield response
        finally:
            response.close()  # a connection whose response was read to its end is not the response's any more

    def _authorized(
        self, url: Url, headers: Mapping[str, str], authorization: Authorization
    ) -> tuple[BaseHTTPResponse, Url]:
        """As `_redirected`."""
        secrets = authorization.headers()
        response, then = self._redirected(url, headers, secrets)
        # Only the server itself may say where its secrets go, and none that it redirects to.
        if response.status == HTTPStatus.UNAUTHORIZED and _is_same_server(url, then):
            with self._asking(url, then):
                _discard_body(response)
            if authorization.renew(secrets, response.headers.get("WWW-Authenticate", ""), self):
                return self._redirected(url, headers, authorization.headers())
        return response, then

    def _redirected(
        self, first: Url, headers: Mapping[str, str], secrets: Mapping[str, str]
    ) -> tuple[BaseHTTPResponse, Url]:
        """The first response that is no redirect, and the URL that it is from."""
        then = first
        for _ in range(1 + _MOST_REDIRECTS):
            with self._asking(first, then):
                response = self._send(then, {**headers, **(secrets if _is_same_server(first, then) else {})})
                location = response.get_redirect_location()
                if not location:
                    return response, then
                _discard_body(response)
            then = _parsed(location, then)
        raise Interrupted(f"the server redirects more than {_MOST_REDIRECTS} times")

    @contextmanager
    def _asking(self, first: Url, then: Url) -> Iterator[None]:
        """Raises Interrupted, which names who was asked, if the connection breaks."""
        try:
            yield
        except HTTPError as error:
            raise Interrupted(f"the connection failed ({_cause(error)})", server=self._asked(first, then)) from error

    def _asked(self, first: Url, then: Url) -> str | None:
        """The redirect target or proxy in use; None: the first server itself."""
        if proxy := self._proxies.proxy_for(then):
            return f"{_origin(then)} through the proxy {_origin(proxy)}"
        return None if _origin(then) == _origin(first) else _origin(then)

    def _send(self, url: Url, headers: Mapping[str, str]) -> BaseHTTPResponse:
        in_url = {"Authorization": _basic(url.auth)} if url.auth else {}
        return self._pools_for(url).urlopen(
            "GET",
            url._replace(auth=None, fragment=None).url,
            redirect=False,
            headers={**_HEADERS, **headers, **in_url},
            retries=False,
            preload_content=False,
            decode_content=False,
        )

    def _pools_for(self, url: Url) -> PoolManager:
        """Connections to the server, or to the proxy for it. Raises NoModel."""
        key = url.scheme, self._proxies.proxy_for(url)
        with self._lock:
            if key not in self._pools:
                self._pools[key] = self._new_pools(*key)
            return self._pools[key]

    def _new_pools(self, scheme: str | None, proxy: Url | None) -> PoolManager:
        options: dict[str, Any] = {"maxsize": _CONNECTIONS, "timeout": _TIMEOUT}
        if scheme == "https":
            options["ssl_context"] = self._tls
        if proxy is None:
            pools = PoolManager(**options)
        else:
            headers = {"Proxy-Authorization": _basic(proxy.auth)} if proxy.auth else None
            if proxy.scheme == "https":
                options["proxy_ssl_context"] = self._tls
            pools = ProxyManager(proxy._replace(auth=None).url, proxy_headers=headers, **options)
        pools.pool_classes_by_scheme = POOLS
        return pools

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """It takes time to read the system's certificates."""
        context = ssl.create_default_context()
        if self._authorities is not None:
            context.load_verify_locations(cadata=self._authorities)
        return context


def _parsed(url: str, base: Url | None = None) -> Url:
    """Raises Interrupted, without the URL, which may have secrets."""
    try:
        return parse_url(urljoin(base.url, url) if base else url)
    except (ValueError, LocationParseError):
        words = f"{_origin(base)} redirects to an address that is not valid" if base else "the address is not valid"
        raise Interrupted(words) from None


def _origin(url: Url) -> str:
    """Scheme, host and port."""
    return f"{url.scheme}://{url.netloc}"


def _basic(user: str) -> str:
    """The value of a header for the user and the password of a URL."""
    return f"Basic {base64.b64encode(unquote(user).encode()).decode()}"


def _is_same_server(first: Url, then: Url) -> bool:
    """Whether it may have what the first one has: also if it moves from http:// to https://."""

    def port(url: Url) -> int | None:
        return url.port or PORTS.get(url.scheme or "")

    if first.host != then.host:
        return False
    is_upgrade = (first.scheme, port(first), then.scheme, port(then)) == ("http", 80, "https", 443)
    return (first.scheme, port(first)) == (then.scheme, port(then)) or is_upgrade


def _check_status(response: BaseHTTPResponse, server: str | None) -> None:
    """Raises Interrupted, Refused. `server`: who answered, if it was not the first server alone."""
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return
    words = (response.headers.get("X-Error-Message") or response.reason or "")[:_LONGEST_MESSAGE]
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _MAY_PASS:
        retry_after = _retry_after(response.headers.get("Retry-After", ""))
        raise Interrupted(f"the server answered {status} {words}".strip(), retry_after, server)
    raise Refused(status, words, response.headers, server)


def _discard_body(response: BaseHTTPResponse) -> None:
    """Free the connection: for another request, if the body is short."""
    response.read(_LONGEST_SKIPPED)
    response.close()


def _retry_after(text: str) -> float | None:
    """Seconds, from a header with a number of them or a date."""
    if text.isdecimal():
        return float(text)
    try:
        return max((email.utils.parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError):
        return None


def _cause(error: BaseException) -> str:
    """What the system said; the library's words have its structures in them."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (str(error) or type(error).__name__)[:_LONGEST_MESSAGE]
