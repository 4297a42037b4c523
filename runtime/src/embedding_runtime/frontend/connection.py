"""HTTP connections with limits of bytes and time, which uvicorn's protocol does not have.

The limits apply before the application sees a request, and therefore before the API key is checked.
"""

import asyncio
import socket
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from embedding_runtime.frontend import memory
from embedding_runtime.frontend.connection_limits import Connections
from embedding_runtime.frontend.context import Client
from embedding_runtime.frontend.joined_writes import JoinedWrites
from embedding_runtime.frontend.slow_readers import PROGRESS, ReadTimer
from embedding_runtime.frontend.upgrade import head_without_upgrade

__all__ = ["Connection"]

MAX_PIPELINED = 64
"""Maximum number of pipelined requests of a connection."""

LINGER_SECONDS = 2
"""Time in which data of a rejected client is discarded. If closed immediately, it might not see the response."""


class _Refused(Exception):
    """Aborts parsing, with status, reason and message."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits.

    The headers are measured when they are complete, and after each read that does not complete them. Memory can
    therefore exceed the limit by one read (256 KiB), but single headers cost no time.
    """

    def __init__(self, *, shared: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._shared, self._limits = shared, shared.limits
        self._share = shared.budget.share()
        self._client = Client()
        self._in_head = False
        self._upgrade_offered = False
        self._refused = False
        self._read_bytes = 0
        """Bytes of the latest read."""
        self._held_bytes = 0
        """Bytes of the latest reads without progress: no end of headers and no part of a body."""
        self._advanced = False
        """Whether this read made such progress."""
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: ReadTimer | None = None

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        # Keep the kernel's buffer small, so that the unsent bytes show how much the client has read.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PROGRESS)
        self._read_timer = self.loop.call_later(self._limits.read_timeout, self._read_timed_out)
        self._shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._client.disconnect()
        self._stop_timers()
        self._shared.closed(self)
        if self._share.held:
            self.loop.call_soon(memory.trim)  # after the transport has dropped the response
        self._share.close()

    def data_received(self, data: bytes) -> None:
        if self._refused or self.parser is None:
            return
        self._unset_keepalive_if_required()
        self._read_bytes, self._advanced = len(data), False
        try:
            rest: bytes | None = data
            while rest is not None:
                rest = self._feed(rest)
            self._held_bytes = 0 if self._advanced else self._held_bytes + len(data)
            self._check_head(self._held_bytes)
        except _Refused as refused:
            self.refuse(*refused.args)
        except httptools.HttpParserError as error:
            if isinstance(error.__context__, _Refused):
                self.refuse(*error.__context__.args)
            else:
                self.refuse(400, "invalid_http", "the request is not valid HTTP")
        else:
            if self._read_timer is None and (self.cycle is None or self.cycle.response_complete):
                self._read_timer = self.loop.call_later(self._limits.read_timeout, self._read_timed_out)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = ReadTimer(self.transport, self._limits.write_timeout, self._read_too_slowly)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.stop()
            self._write_timer = None
        self._share.sent()

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self.scope["state"]["answer_share"] = self._share
        self.scope["state"]["client"] = self._client
        self.scope["state"]["begun"] = self.loop.time()

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self._limits.max_url_bytes:
            most = f"the maximum of {self._limits.max_url_bytes} bytes (--max_url_bytes)"
            raise _Refused(414, "url_too_long", f"the URL exceeds {most}: send texts in the body")
        super().on_url(url)

    def on_headers_complete(self) -> None:
        self._in_head, self._advanced = False, True
        may_be_large = self._held_bytes + self._read_bytes > self._limits.max_header_bytes
        self._check_head(sum(len(name) + len(value) for name, value in self.headers) if may_be_large else 0)
        self._held_bytes = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refused(405, "invalid_http", "CONNECT is not supported: the server is not a proxy")
            self._upgrade_offered = True  # `_feed` continues
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused(
                429,
                "too_many_pipelined",
                f"more than {MAX_PIPELINED} requests are pipelined on this connection: wait for responses",
            )
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        self._shared.busy(self)
        super().on_headers_complete()
        self.headers = []  # for trailers, which the application must not take for headers (RFC 9110, 6.5.1)
        has_body = self.parser.get_method() != b"HEAD"
        self.cycle.transport = JoinedWrites(self.transport, has_body=has_body)  # type: ignore[assignment] # all that it uses of one
        if self._shared.is_draining:
            self.cycle.keep_alive = False  # uvicorn then sends Connection: close, and closes

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._advanced = True
        if not self._upgrade_offered:
            super().on_message_complete()
            if not self.pipeline:
                self.flow.resume_reading()  # a large body has paused it, and a disconnect would not be noticed

    def on_response_complete(self) -> None:
        self._share.written(self.transport.get_write_buffer_size() if self.flow.write_paused else 0)
        if not (self.pipeline or self.transport.is_closing()):
            self._shared.idle(self)
        super().on_response_complete()

    # Closing

    def refuse(self, status: int, reason: str, message: str) -> None:
        """Send an error response without calling the application, and close. During a response, only close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        if self.headers is not None:
            self.headers.clear()  # one read may contain fifty thousand
        self._stop_timers()
        self._shared.ended(reason, message)
        if self.cycle is not None and not self.cycle.response_complete:
            self.transport.abort()
            return
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": reason}
        body = orjson.dumps({"error": error})
        fields = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        fields += [*self.server_state.default_headers, (b"connection", b"close")]
        head = b"".join(b"%s: %s\r\n" % field for field in fields)
        self.transport.write(STATUS_LINE[status] + head + b"\r\n" + body)
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.transport.close()  # there are too many connections: do not linger
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._read_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def drop(self, reason: str, why: str) -> None:
        """Close without a response."""
        if not self.transport.is_closing():
            self._shared.ended(reason, why)
            self.transport.close()

    def _feed(self, data: bytes) -> bytes | None:
        """Parse data. Return the data to parse next, after an offer to upgrade, which is ignored (RFC 9110, 7.8).

        httptools ends a message at such an offer, without its body.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = head_without_upgrade(self.parser, self.url, self.headers)
            self._upgrade_offered = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
            return head + data[offer.args[0] :]
        return None

    def _check_head(self, size: int) -> None:
        """Raises _Refused."""
        limits = self._limits
        if size > limits.max_header_bytes:
            most = f"the maximum of {limits.max_header_bytes} bytes (--max_header_bytes)"
            raise _Refused(431, "headers_too_large", f"the headers exceed {most}: send fewer or shorter headers")
        if self.headers is not None and len(self.headers) > limits.max_header_fields:
            most = f"the maximum of {limits.max_header_fields} fields (--max_header_fields)"
            raise _Refused(431, "headers_too_large", f"the headers exceed {most}: send fewer headers")

    def _read_timed_out(self) -> None:
        self._read_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            return  # the request has its own deadline
        seconds = f"{self._limits.read_timeout:g} s (--read_timeout)"
        if self._in_head:
            self.refuse(408, "head_too_late", f"the request's headers were incomplete after {seconds}")
        else:
            self.drop("idle", f"no request within {seconds}")

    def _read_too_slowly(self, read: int) -> None:
        seconds = f"{self._limits.write_timeout:g} s (--write_timeout)"
        self._shared.ended("answer_not_read", f"the client read only {read} bytes of its response in {seconds}")
        self.transport.abort()

    def _stop_timers(self) -> None:
        self._unset_keepalive_if_required()
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        if self._write_timer is not None:
            self._write_timer.stop()
            self._write_timer = None
