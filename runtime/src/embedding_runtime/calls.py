"""One request as it is seen: what its log line, its metrics and its headers say. Never a text."""

import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from embedding_runtime.errors import RateLimited
from embedding_runtime.ratelimit import Bucket

__all__ = ["Call", "asks", "begin", "current", "current_id", "failed", "pay", "request_id"]

_SANE = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


@dataclass
class Call:
    """A request under way. Routes find theirs with `current()`."""

    id: str
    texts: int = 0
    tokens: int = 0
    """Of these texts, special tokens included."""
    key: str | None = None
    """The name of the API key it came with."""
    fault: str | None = None
    """What was wrong with it, in a word, where something was."""
    bucket: Bucket | None = None
    """What is left of that key's tokens; None where they are not limited."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What every answer to it has."""
        own = {"X-Request-Id": self.id}
        if self.bucket is None:
            return own
        now = time.monotonic()
        return {
            **own,
            "x-ratelimit-limit-tokens": str(self.bucket.per_minute),
            "x-ratelimit-remaining-tokens": str(self.bucket.remaining(now)),
            "x-ratelimit-reset-tokens": f"{self.bucket.full_in(now):.3f}s",
        }


_current: ContextVar[Call] = ContextVar("call")


def begin(call: Call) -> None:
    """It is the current one from here on, in this task and in what it starts."""
    _current.set(call)


def current() -> Call | None:
    """None outside of a request."""
    return _current.get(None)


def current_id() -> str | None:
    """None outside of a request."""
    call = current()
    return None if call is None else call.id


def asks(*, texts: int, tokens: int) -> None:
    """The current one asks for vectors of that much."""
    if (call := current()) is not None:
        call.texts += texts
        call.tokens += tokens


def pay(tokens: int) -> None:
    """The current one's key pays for what is let in. Raises RateLimited."""
    if (call := current()) is not None and call.bucket is not None:
        wait = call.bucket.take(tokens, time.monotonic())
        if wait:
            raise RateLimited(tokens=tokens, per_minute=call.bucket.per_minute, wait=wait)


def failed(reason: str) -> None:
    """The current one is answered with a fault."""
    if (call := current()) is not None:
        call.fault = reason


def request_id(given: str | None) -> str:
    """What the client calls its request, where that is fit for a log and a header; else a new name."""
    return given if given is not None and _SANE.fullmatch(given) else secrets.token_hex(16)
