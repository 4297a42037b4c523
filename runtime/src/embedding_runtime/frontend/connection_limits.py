"""What connections share: their limits, their number, and the memory for their answers."""

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
"""Of the files that the process may open: those that are no connections."""

LOG_SECONDS = 10
"""A line a reason this often, at most."""


class Limited(Protocol):
    """A connection, as far as its number matters."""

    def refuse(self, status: int, reason: str, message: str) -> None:
        """Answer what is no request of the application, and close."""
        ...

    def drop(self, reason: str, why: str) -> None:
        """Close without an answer."""
        ...


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
        """A frontend's part of the flags, with no more connections than the process may have open files.

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
                    "connections are limited to %d, not --max_connections=%d, because the process may open %d files: "
                    "raise ulimit -n",
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
        self._idle_before: frozenset[Limited] = frozenset()
        self._open: set[Limited] = set()
        # Ordered by how long they are idle.
        self._unused: dict[Limited, None] = {}
        """Without a request so far."""
        self._idle: dict[Limited, None] = {}
        """Between two requests."""
        self._metrics = metrics
        self._unlogged: collections.Counter[str] = collections.Counter()
        self._logged_at: dict[str, float] = {}
        metrics.connections(number=lambda: len(self._open), unsent_bytes=lambda: self.budget.used)

    def opened(self, connection: Limited) -> None:
        """Count it. Above the limit the connection that is idle for longest is closed, one without a request first."""
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
        """It has a request, or is about to be closed."""
        self._idle.pop(connection, None)
        self._unused.pop(connection, None)

    def idle(self, connection: Limited) -> None:
        """Its requests are answered."""
        self._idle[connection] = None

    def close_idle(self) -> None:
        """Close the connections that were idle the last time, too. A request that was just sent has arrived by now."""
        for connection in self._idle_before & self._idle.keys():
            self.busy(connection)
            connection.drop("draining", "the server is draining")
        self._idle_before = frozenset(self._idle)

    def closed(self, connection: Limited) -> None:
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
            _log.warning("closed %d connections (%s): %s", self._unlogged.pop(reason), reason, why)
