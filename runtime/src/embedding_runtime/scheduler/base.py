"""The interface of the scheduler for frontends in the same or another process."""

import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Protocol

from prometheus_client import Metric

from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import LoadedModel
from embedding_runtime.protocol.requests import Lane, Output, Principal, RateLimit
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Scheduler", "State", "public_reason"]


class State(Enum):
    """State of the server."""

    LOADING = auto()
    READY = auto()
    STOPPING = auto()
    """Requests are still answered, but readiness is off."""
    FAILED = auto()


class Scheduler(Protocol):
    """Queue, admission and workers of the whole server."""

    @property
    def state(self) -> State: ...

    @property
    def reason(self) -> str:
        """Description of the state; for READY, how vectors are computed."""
        ...

    @property
    def cosine(self) -> float | None:
        """See `messages.Ready`."""
        ...

    @property
    def model(self) -> LoadedModel | None:
        """See `messages.Ready`; None while the model is loading."""
        ...

    @property
    def followers(self) -> list[Callable[[], None]]:
        """Called after each change of the state, before anything else happens."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The metrics of this process."""
        ...

    async def embed(
        self,
        texts: TokenBatch,
        principal: Principal,
        *,
        lane: Lane | None = None,
        seconds: float = math.inf,
        output: Output = Output.PER_TEXT,
    ) -> Rows:
        """Compute one row per text, in order. `texts` is not empty. Cancelling the call dequeues the request.

        Without a `lane`, a request of few texts is interactive. A request that cannot finish within `seconds` is
        rejected, unless the queue is empty.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit, TextFailed, VectorNotFinite.
        """
        ...

    async def check_admission(
        self, texts: int, tokens: int, principal: Principal, *, lane: Lane | None, seconds: float
    ) -> None:
        """Reject what `embed` would reject now for this many texts and tokens, or more. Consumes no budget.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit.
        """
        ...

    async def check_budget(self, principal: Principal, tokens: int) -> None:
        """Check that the budget has this many tokens, or more. Raises RateLimited, ExceedsKeyLimit."""
        ...

    async def charge(self, principal: Principal, tokens: int) -> None:
        """Charge tokens that need no worker to the principal's budget. Raises RateLimited, ExceedsKeyLimit."""
        ...

    def rate_limit(self, principal: Principal) -> RateLimit | None:
        """The remaining budget of a principal; None if it has no limit."""
        ...

    async def collect(self) -> Sequence[Metric]:
        """The metrics of the whole server."""
        ...


def public_reason(scheduler: Scheduler) -> str:
    """The reason for clients without an API key. That of a failure is omitted, because it may quote an exception."""
    return "the worker has failed; see the server's log" if scheduler.state is State.FAILED else scheduler.reason
