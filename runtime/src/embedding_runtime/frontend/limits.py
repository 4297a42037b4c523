"""Limits of one request: texts, tokens, seconds, bytes."""

import math
from dataclasses import dataclass
from typing import Self

from embedding_runtime.contract import ServeArgs
from embedding_runtime.errors import BadRequest

__all__ = ["TIMEOUT_HEADER", "Limits"]

TIMEOUT_HEADER = "X-Request-Timeout"
"""Header with the client's timeout in seconds."""


@dataclass(frozen=True)
class Limits:
    """Values of the flags with the same names."""

    max_inputs: int
    max_request_tokens: int
    max_body_bytes: int
    request_timeout: float
    max_request_timeout: float
    read_timeout: float
    divided_by: int = 1
    """Number of frontends, which share the memory for bodies."""

    @classmethod
    def of(cls, args: ServeArgs, divided_by: int = 1) -> Self:
        """Take the limits from the flags."""
        given = {name: getattr(args, name) for name in cls.__dataclass_fields__ if name != "divided_by"}
        return cls(**given, divided_by=divided_by)

    def seconds(self, asked: str | None) -> float:
        """The timeout of a request, from its header. Raises BadRequest."""
        if asked is None:
            return self.request_timeout
        try:
            seconds = float(asked)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds <= self.max_request_timeout:
            limit = f"{self.max_request_timeout:g}"
            raise BadRequest(f"{TIMEOUT_HEADER} must be a number of seconds above 0 and at most {limit}")
        return seconds
