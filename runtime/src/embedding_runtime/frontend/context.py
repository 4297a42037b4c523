"""The context of a request: id, principal, deadline, and counts for its log line, metrics and headers.

It contains no text of the request.
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
    """The deadline of a request."""

    seconds: float = math.inf
    """The timeout of the request."""
    at: float = math.inf
    """Time of the deadline, by the event loop's clock."""

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative after it."""
        return self.at - asyncio.get_running_loop().time()


class Client:
    """The peer of a connection."""

    def __init__(self) -> None:
        self.is_gone = False
        self.when_gone: set[Callable[[], None]] = set()
        """Callbacks, called when it disconnects."""

    def disconnect(self) -> None:
        """The peer has disconnected."""
        self.is_gone = True
        for leave in tuple(self.when_gone):
            leave()


@dataclass
class RequestContext:
    """The context of a running request. Middleware sets it, and the pipeline reads it."""

    id: str
    principal: Principal
    deadline: Deadline = field(default_factory=Deadline)
    lane: Lane | None = None
    """None: selected by the number of texts."""
    key: str | None = None
    """Name of the API key."""
    texts: int = 0
    tokens: int = 0
    """Tokens of these texts, special tokens included."""
    truncated: list[int] = field(default_factory=list)
    """Indices of the truncated inputs, in ascending order."""
    fault: str | None = None
    """Reason of the fault, if the request failed."""
    rate_limit: RateLimit | None = None
    """None if the principal has no limit."""
    receive: Receive | None = None
    """Receives ASGI messages after the body."""
    answer_share: AnswerShare | None = None
    """Memory for the response; None if the request does not come from a `Connection`."""
    client: Client | None = None
    """None if the request does not come from a `Connection`."""
    turn: list[Callable[[], None]] = field(default_factory=list)
    """Callbacks that end the turn of a large body."""
    body: HeldBody | None = None
    """Memory of the body; None if the request does not pass a BodyReader."""
    limits: Limits | None = None
    """None if the request does not pass a BodyReader."""
    held_body: list[Callable[[], None]] = field(default_factory=list)
    """Callbacks that free the body and its texts."""

    keeps_texts: bool = False
    """Whether the response needs the texts."""

    def tokenized(self) -> None:
        """Free body and texts after tokenization. May be called repeatedly."""
        for calls in (self.turn, [] if self.keeps_texts else self.held_body):
            while calls:
                calls.pop()()

    def answering(self) -> None:
        """Free body and texts, because the response exists. May be called repeatedly."""
        self.keeps_texts = False
        self.tokenized()

    async def disconnected(self) -> None:
        """Wait for the client to disconnect."""
        if self.receive is None:
            raise RuntimeError("the body of the request has not been read")
        await self.receive()  # the only message after the body

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the response."""
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
    """The context in an ASGI scope, which ObservabilityMiddleware sets."""
    context: RequestContext = scope["state"]["context"]
    return context


def request_id(given: str | None) -> str:
    """The client's id if it is safe in logs and headers, else a new one."""
    return given if given is not None and _SAFE_ID.fullmatch(given) else f"{getrandbits(128):032x}"
