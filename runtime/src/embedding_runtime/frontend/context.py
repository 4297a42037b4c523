"""The context of one request: its id, principal and deadline, and the counts for its log line, metrics and headers.

It holds no text.
"""

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import getrandbits

from starlette.types import Receive, Scope

from embedding_runtime.frontend.answer_budget import AnswerShare
from embedding_runtime.frontend.body_pool import HeldBody
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.protocol.requests import Lane, Principal, RateLimit

__all__ = ["Client", "Deadline", "RequestContext", "context_of", "request_id"]

_SAFE_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass(frozen=True)
class Deadline:
    """When a request has to be answered."""

    seconds: float = math.inf
    """How long it had in all."""
    at: float = math.inf
    """By the loop's clock."""

    @property
    def left(self) -> float:
        """Seconds; negative once it has passed."""
        return self.at - asyncio.get_running_loop().time()


class Client:
    """Whether the peer of a connection is there."""

    def __init__(self) -> None:
        self.is_gone = False
        self.when_gone: set[Callable[[], None]] = set()
        """Called when it goes."""

    def go(self) -> None:
        """The connection is lost."""
        self.is_gone = True
        for leave in tuple(self.when_gone):
            leave()


@dataclass
class RequestContext:
    """One request under way. Middleware fills it in, the pipeline reads it."""

    id: str
    principal: Principal
    deadline: Deadline = field(default_factory=Deadline)
    lane: Lane | None = None
    """None: by the number of its texts."""
    key: str | None = None
    """The name of its API key."""
    texts: int = 0
    tokens: int = 0
    """Of these texts, special tokens included."""
    truncated: list[int] = field(default_factory=list)
    """Places of the inputs that were cut, in rising order."""
    fault: str | None = None
    """The reason of the fault that it was answered with."""
    rate_limit: RateLimit | None = None
    """None where the principal has no limit."""
    receive: Receive | None = None
    """The next ASGI message, where the body has been read."""
    answer_share: AnswerShare | None = None
    """Memory for the answer; None where no `Connection` serves it."""
    client: Client | None = None
    """None where no `Connection` serves it."""
    turn: list[Callable[[], None]] = field(default_factory=list)
    """What lets the next large body be parsed and tokenized."""
    body: HeldBody | None = None
    """Memory for the request's body; None where no BodyReader has read it."""
    limits: Limits | None = None
    """None where no BodyReader has read its body."""
    held_body: list[Callable[[], None]] = field(default_factory=list)
    """What frees the request's body and its texts."""

    keeps_texts: bool = False
    """Whether the answer may need them."""

    def tokenized(self) -> None:
        """Its texts are token ids now: free what they take. May be called again."""
        for calls in (self.turn, [] if self.keeps_texts else self.held_body):
            while calls:
                calls.pop()()

    def answering(self) -> None:
        """Its answer is made: free all that its body takes. May be called again."""
        self.keeps_texts = False
        self.tokenized()

    async def disconnected(self) -> None:
        """Return when the client is gone."""
        if self.receive is None:
            raise RuntimeError("the body of the request has not been read")
        await self.receive()  # after the body there is nothing else to come

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of every answer to it."""
        own = {"X-Request-Id": self.id}
        if self.truncated:
            own["X-Truncated"] = str(len(self.truncated))
        if self.rate_limit is None:
            return own
        return {
            **own,
            "x-ratelimit-limit-tokens": str(self.rate_limit.per_minute),
            "x-ratelimit-remaining-tokens": str(self.rate_limit.remaining),
            "x-ratelimit-reset-tokens": f"{self.rate_limit.full_in:.3f}s",
        }


def context_of(scope: Scope) -> RequestContext:
    """The context that ObservabilityMiddleware has put into an ASGI scope."""
    context: RequestContext = scope["state"]["context"]
    return context


def request_id(given: str | None) -> str:
    """The client's own id, where it is safe in a log and a header; else a new one."""
    return given if given is not None and _SAFE_ID.fullmatch(given) else f"{getrandbits(128):032x}"
