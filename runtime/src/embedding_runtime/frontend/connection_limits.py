"""Limits of connections, and their shared state: number and memory for responses."""

import asyncio
import collections
import logging
import resource
from dataclasses import dataclass
from typing import Any, Protocol, Self

from embedding_runtime.contract import ServeArgs
from embedding_runtime.frontend.answer_budget import AnswerBudget
from embedding_runtime.observability.metrics import Metrics

__all__ = ["ConnectionLimits", "Connections", "Limited"]

_log = logging.getLogger(__name__)

RESERVED_FILES = 64
"""Open files that are reserved for other purposes than connections."""

LOG_SECONDS = 10
"""Minimum interval between two log lines with the same reason."""


class Limited(Protocol):
    """A connection that can be closed to enforce a limit."""

    def refuse(self, status: int, reason: str, message: str) -> None:
        """Send an error response without calling the application, and close."""
        ...

    def drop(self, reason: str, why: str) -> None:
        """Close without a response."""
        ...


@dataclass(frozen=True)
class ConnectionLimits:
    """Values of the flags with the same names."""

    max_connections: int
    max_header_bytes: int
    max_header_fields: int
    max_url_bytes: int
    max_unsent_bytes: int
    read_timeout: float
    write_timeout: float

    @classmethod
    def of(cls, args: ServeArgs, frontends: int = 1) -> Self:
        """A frontend's share of the limits. Connections are limited by the number of files that the process may open.

        That number is raised if possible.
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
                    "connections are limited to %d, not --max_connections=%d, because the process may open %d files: "
                    "raise ulimit -n",
                    given["max_connections"],
                    args.max_connections,
                    soft,
                )
        return cls(**given)


class Connections:
    """All connections of a frontend, with their limits and the memory for their responses."""

    def __init__(self, limits: ConnectionLimits, metrics: Metrics) -> None:
        self.limits = limits
        self.budget = AnswerBudget(limits.max_unsent_bytes)
        self.is_draining = False
        """Whether every connection is closed with its next response."""
        self._idle_before: frozenset[Limited] = frozenset()
        self._open: set[Limited] = set()
        # Both are ordered by idle time, longest first.
        self._unused: dict[Limited, None] = {}
        """Connections without a request so far."""
        self._idle: dict[Limited, None] = {}
        """Connections between two requests."""
        self._metrics = metrics
        self._unlogged: collections.Counter[str] = collections.Counter()
        self._logged_at: dict[str, float] = {}
        metrics.connections(number=lambda: len(self._open), unsent_bytes=lambda: self.budget.used)

    def opened(self, connection: Limited) -> None:
        """Add a connection. Above the limit, close the longest idle one, preferably one without any request."""
        self._open.add(connection)
        self._unused[connection] = None
        if len(self._open) > self.limits.max_connections:
            most = f"the server has reached its limit of {self.limits.max_connections} connections (--max_connections)"
            victim = next(iter(self._unused)) if len(self._unused) > 1 else next(iter(self._idle), connection)
            self.busy(victim)
            if victim is connection:
                victim.refuse(503, "too_many_connections", f"{most}: retry later")
            else:
                victim.drop("too_many_connections", most)

    def busy(self, connection: Limited) -> None:
        """Mark a connection as busy, or as about to be closed."""
        self._idle.pop(connection, None)
        self._unused.pop(connection, None)

    def idle(self, connection: Limited) -> None:
        """Mark a connection as idle."""
        self._idle[connection] = None

    def close_idle(self) -> None:
        """Close connections that are idle now and at the last call, so that a request in transit can still arrive."""
        for connection in self._idle_before & self._idle.keys():
            self.busy(connection)
            connection.drop("draining", "the server is draining")
        self._idle_before = frozenset(self._idle)

    def closed(self, connection: Limited) -> None:
        """Remove a connection."""
        self._open.discard(connection)
        self.busy(connection)

    def ended(self, reason: str, why: str) -> None:
        """Count a connection that the server closes, and log it at a limited rate."""
        self._metrics.connection_ended(reason)
        self._unlogged[reason] += 1
        now = asyncio.get_running_loop().time()
        if now - self._logged_at.get(reason, -LOG_SECONDS) >= LOG_SECONDS:
            self._logged_at[reason] = now
            _log.warning("closed %d connections (%s): %s", self._unlogged.pop(reason), reason, why)
