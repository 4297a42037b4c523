"""One HTTP connection within its limits: uvicorn's protocol, which by itself bounds neither bytes nor time.

All of it holds before a request is seen by the application, and so before an API key is looked at.
"""

import asyncio
import collections
import ctypes
import logging
import resource
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Self

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from embedding_runtime.contract import ServeArgs
from embedding_runtime.frontend.answer_budget import AnswerBudget
from embedding_runtime.observability.metrics import Metrics

__all__ = ["Connection", "ConnectionLimits", "Connections"]

_log = logging.getLogger(__name__)

MAX_PIPELINED = 64
"""Requests that may wait on one connection for the answer to the one before them."""

PROGRESS = 1 << 16
"""Bytes of an answer that a client has to read within the write timeout; of a smaller rest, half."""

LINGER_SECONDS = 2
"""How long what a refused client still sends is read and dropped: closed at once, it might not see its answer."""

RESERVED_FILES = 64
"""Of the files that the process may open: those that are no connections."""

LOG_SECONDS = 10
"""A line a reason this often, at most."""


@dataclass(frozen=True)
class ConnectionLimits:
    """As the flags of the same names."""

    max_connections: int
    max_header_bytes: int
    max_header_fields: int
    max_url_bytes: int
    max_unsent_bytes: int
    read_timeout: float
    write_timeout: float

    @classmethod
    def of(cls, args: ServeArgs, frontends: int = 1) -> Self:
        """A frontend's part of the flags, and no more connections than the process may have open files.

        That limit is raised where it can be.
        """
        given: dict[str, Any] = {name: getattr(args, name) for name in cls.__dataclass_fields__}
        for name in ("max_connections", "max_unsent_bytes"):
            given[name] = max(1, given[name] // frontends)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = given["max_connections"] + RESERVED_FILES
        if soft != resource.RLIM_INFINITY and soft < wanted:
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            if soft < wanted:
                given["max_connections"] = max(1, soft - RESERVED_FILES)
                _log.warning(
                    "%d connections at most, not --max_connections=%d: the process may open %d files (ulimit -n)",
                    given["max_connections"],
                    args.max_connections,
                    soft,
                )
        return cls(**given)


class Connections:
    """What all connections of a server share: the limits, their number, the memory for their answers."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.budget = AnswerBudget(limits.max_unsent_bytes)
        self.is_draining = False
        """Every connection is closed with its next answer."""
        self._idle_before: frozenset[Connection] = frozenset()
        self._open: set[Connection] = set()
        # Ordered by how long they are idle.
        self._unused: dict[Connection, None] = {}
        """Without a request so far."""
        self._idle: dict[Connection, None] = {}
        """Between two requests."""
        self._metrics = metrics
        self._unlogged: collections.Counter[str] = collections.Counter()
        self._logged_at: dict[str, float] = {}
        metrics.connections(number=lambda: len(self._open), unsent_bytes=lambda: self.budget.used)

    def opened(self, connection: "Connection") -> None:
        """Count it. Above the limit the connection that is idle for longest is closed, one without a request first."""
        self._open.add(connection)
        self._unused[connection] = None
        if len(self._open) > self.limits.max_connections:
            most = f"there are {self.limits.max_connections} connections already (--max_connections)"
            victim = next(iter(self._unused)) if len(self._unused) > 1 else next(iter(self._idle), connection)
            self.busy(victim)
            if victim is connection:
                victim.refuse(503, "too_many_connections", f"{most}: try again")
            else:
                victim.drop("too_many_connections", most)

    def busy(self, connection: "Connection") -> None:
        """It has a request, or is about to be closed."""
        self._idle.pop(connection, None)
        self._unused.pop(connection, None)

    def idle(self, connection: "Connection") -> None:
        """Its requests are answered."""
        self._idle[connection] = None

    def close_idle(self) -> None:
        """Close the connections that were idle the last time, too. A request that was just sent has arrived by now."""
        for connection in self._idle_before & self._idle.keys():
            self.busy(connection)
            connection.drop("draining", "this server is about to lose its traffic")
        self._idle_before = frozenset(self._idle)

    def closed(self, connection: "Connection") -> None:
        """It is gone."""
        self._open.discard(connection)
        self.busy(connection)

    def ended(self, reason: str, why: str) -> None:
        """Count a connection that this server ends before the client does, and log it, not too often."""
        self._metrics.connection_ended(reason)
        self._unlogged[reason] += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at.get(reason, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged_at[reason] = now
            _log.warning("connections closed: %d, %s: %s", self._unlogged.pop(reason), reason, why)


class _Refused(Exception):
    """Ends the parsing of a head: status, reason, message."""


class Connection(HttpToolsProtocol):
    """uvicorn's protocol with limits. A head is measured when it is complete, and after each read that completes none.

    So up to one read (256 KiB) more than the limit is held, and no header costs anything.
    """

    def __init__(self, *, shared: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._shared, self._limits = shared, shared.limits
        self._share = shared.budget.share()
        self._in_head = False
        self._upgrade_offered = False
        self._refused = False
        self._read_bytes = 0
        """Of the latest read."""
        self._held_bytes = 0
        """Of the latest reads that brought neither the end of a head, nor a piece of a body, nor the end of one."""
        self._advanced = False
        """Whether this read brought one of these."""
        self._unsent = 0
        self._read_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    # The transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._read_timer = self.loop.call_later(self._limits.read_timeout, self._read_timed_out)
        self._shared.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_timers()
        self._shared.closed(self)
        if self._share.held:
            self.loop.call_soon(_malloc_trim, 0)  # once the transport has dropped the answer
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
                self.refuse(400, "invalid_http", "this is not an HTTP request")
        else:
            if self._read_timer is None and (self.cycle is None or self.cycle.response_complete):
                self._read_timer = self.loop.call_later(self._limits.read_timeout, self._read_timed_out)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None
        self._share.sent()

    # The parser's calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self.scope["state"]["answer_share"] = self._share

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self._limits.max_url_bytes:
            most = f"{self._limits.max_url_bytes} bytes (--max_url_bytes)"
            raise _Refused(414, "url_too_long", f"the URL is longer than {most}: send texts in the body")
        super().on_url(url)

    def on_headers_complete(self) -> None:
        self._in_head, self._advanced = False, True
        may_be_large = self._held_bytes + self._read_bytes > self._limits.max_header_bytes
        self._check_head(sum(len(name) + len(value) for name, value in self.headers) if may_be_large else 0)
        self._held_bytes = 0
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise _Refused(405, "invalid_http", "CONNECT: this is no proxy")
            self._upgrade_offered = True  # `_feed` goes on from here
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refused(429, "too_many_pipelined", f"{MAX_PIPELINED} requests wait on this connection already")
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        self._shared.busy(self)
        super().on_headers_complete()
        if self._shared.is_draining:
            self.cycle.keep_alive = False  # uvicorn says so in the answer, and closes

    def on_body(self, body: bytes) -> None:
        self._advanced = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._advanced = True
        if not self._upgrade_offered:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self._share.written(self.transport.get_write_buffer_size() if self.flow.write_paused else 0)
        if not (self.pipeline or self.transport.is_closing()):
            self._shared.idle(self)
        super().on_response_complete()

    # How a connection ends

    def refuse(self, status: int, reason: str, message: str) -> None:
        """Answer what is no request of the application, and close. Where an answer is under way, only close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
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
            self.transport.close()  # it is one too many: not for longer
            return
        self.flow.resume_reading()
        self.transport.write_eof()
        self._read_timer = self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def drop(self, reason: str, why: str) -> None:
        """Close without an answer."""
        if not self.transport.is_closing():
            self._shared.ended(reason, why)
            self.transport.close()

    def _feed(self, data: bytes) -> bytes | None:
        """Parse it. What has to be parsed next: after an offer to upgrade, which is passed over (RFC 9110, 7.8).

        httptools ends a message there, without its body: Java's HttpClient offers h2c with every request.
        """
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            head = self._head_without_upgrade()
            self._upgrade_offered = False
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn
            return head + data[offer.args[0] :]
        return None

    def _head_without_upgrade(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                kept = [word for word in value.split(b",") if word.strip().lower() not in _ONE_HOP]
                lines += [b"connection: %s" % b",".join(kept)] if kept else []
            elif name not in _ONE_HOP:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    def _check_head(self, size: int) -> None:
        """Raises _Refused."""
        limits = self._limits
        if size > limits.max_header_bytes:
            most = f"{limits.max_header_bytes} bytes (--max_header_bytes)"
            raise _Refused(431, "headers_too_large", f"the headers are larger than {most}: send less of them")
        if self.headers is not None and len(self.headers) > limits.max_header_fields:
            most = f"{limits.max_header_fields} header fields (--max_header_fields)"
            raise _Refused(431, "headers_too_large", f"there are more than {most}: send less of them")

    def _read_timed_out(self) -> None:
        self._read_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            return  # a request has its own deadline; afterwards the connection has the time of an idle one
        seconds = f"{self._limits.read_timeout:g} s (--read_timeout)"
        if self._in_head:
            self.refuse(408, "head_too_late", f"the request's headers were not complete after {seconds}")
        else:
            self.drop("idle", f"no request after {seconds}")

    def _watch_writing(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self._limits.write_timeout, self._check_writing)

    def _check_writing(self) -> None:
        read = self._unsent - self.transport.get_write_buffer_size()
        if read >= min(PROGRESS, self._unsent // 2):
            self._watch_writing()
            return
        seconds = f"{self._limits.write_timeout:g} s (--write_timeout)"
        self._shared.ended("answer_not_read", f"the client read {max(read, 0)} bytes of its answer in {seconds}")
        self.transport.abort()

    def _stop_timers(self) -> None:
        self._unset_keepalive_if_required()
        for timer in (self._read_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        self._read_timer = self._write_timer = None


_malloc_trim = ctypes.CDLL(None).malloc_trim
"""glibc gives all free memory back to the system. By itself it keeps the holes that unread answers leave."""

_ONE_HOP = frozenset({b"upgrade", b"http2-settings"})
"""Header fields, and words of Connection, that go with an offer to upgrade."""
