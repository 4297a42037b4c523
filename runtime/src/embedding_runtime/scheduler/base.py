"""The scheduler as a frontend sees it, in its own process or in another one."""

import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from prometheus_client import Metric

from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import LoadedModel, VectorRows
from embedding_runtime.protocol.requests import Lane, Principal, RateLimit
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Scheduler", "State"]


class State(Enum):
    """What the scheduler can do."""

    LOADING = auto()
    READY = auto()
    STOPPING = auto()
    """It answers what it has and what still comes; readiness is off."""
    FAILED = auto()


class Scheduler(Protocol):
    """Queue, admission and workers of the whole server."""

    @property
    def state(self) -> State: ...

    @property
    def reason(self) -> str:
        """The state in words; for READY, how vectors are computed."""
        ...

    @property
    def cosine(self) -> float | None:
        """As in Ready."""
        ...

    @property
    def model(self) -> LoadedModel | None:
        """As in Ready; None while it loads."""
        ...

    @property
    def followers(self) -> list[Callable[[], None]]:
        """Called after each change of the state, before anything else happens."""
        ...

    @property
    def metrics(self) -> Metrics:
        """Those of this process."""
        ...

    async def embed(
        self, texts: TokenBatch, principal: Principal, *, lane: Lane | None = None, seconds: float = math.inf
    ) -> VectorRows:
        """One row a text, in order; there is at least one text. A caller that is cancelled leaves the queue.

        Without a `lane`, a request of few texts is interactive. A request that would take longer than its `seconds`
        is refused, unless nothing else waits.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit, TextFailed, VectorNotFinite.
        """
        ...

    async def check_admission(
        self, texts: int, tokens: int, principal: Principal, *, lane: Lane | None, seconds: float
    ) -> None:
        """Refuse what `embed` would refuse if it came now with so many texts and tokens, or more. Takes nothing.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit.
        """
        ...

    async def check_budget(self, principal: Principal, tokens: int) -> None:
        """Whether so many tokens, or more, could be taken from its budget. Raises RateLimited, ExceedsKeyLimit."""
        ...

    async def charge(self, principal: Principal, tokens: int) -> None:
        """Take tokens that are not computed from the principal's budget. Raises RateLimited, ExceedsKeyLimit."""
        ...

    def rate_limit(self, principal: Principal) -> RateLimit | None:
        """What is left of a principal's tokens of this minute; None where it has no limit."""
        ...

    async def collect(self) -> Sequence[Metric]:
        """The metrics of the whole server."""
        ...
