"""Connections to web servers, on which the head of a response must arrive in time.

The timeout of a socket restarts with each byte, so a server that sends its head byte by byte would never time out.
"""

from http.client import HTTPResponse
from time import monotonic

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

__all__ = ["POOLS"]

_HEAD_SECONDS = 60


class _Response(HTTPResponse):
    def begin(self) -> None:
        """Read the head. Raises TimeoutError, also for interim responses (1xx) that do not end."""
        deadline, raw = monotonic() + _HEAD_SECONDS, self.fp.raw
        read = raw.readinto

        def readinto(buffer: memoryview) -> int | None:
            if monotonic() > deadline:
                raise TimeoutError(f"the head of the response did not arrive within {_HEAD_SECONDS} seconds")
            return read(buffer)

        raw.readinto = readinto  # type: ignore[method-assign] # which BufferedReader calls
        try:
            super().begin()
        finally:
            del raw.readinto  # the body has the timeout of the socket alone


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


POOLS = {"http": _Pool, "https": _SecurePool}
"""The `pool_classes_by_scheme` of a PoolManager."""
