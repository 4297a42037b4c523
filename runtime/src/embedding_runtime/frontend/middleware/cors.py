"""CORS: origins whose scripts may send requests; none by default."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from embedding_runtime.contract import ServeArgs

__all__ = ["CorsRules"]


@dataclass(frozen=True)
class CorsRules:
    """Values of the flags with the same names."""

    allowed_origins: Sequence[str] = ()
    allowed_methods: Sequence[str] = ()
    allowed_headers: Sequence[str] = ()
    allow_credentials: bool = False

    @classmethod
    def of(cls, args: ServeArgs) -> Self:
        """Take the rules from the flags."""
        return cls(**{name: getattr(args, name) for name in cls.__dataclass_fields__})

    def add_to(self, app: FastAPI) -> None:
        """Add the middleware outside of the check of API keys, because a preflight request has no key."""
        if self.allowed_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=self.allowed_origins,
                allow_methods=self.allowed_methods,
                allow_headers=self.allowed_headers,
                allow_credentials=self.allow_credentials,
                expose_headers=_OUR_HEADERS,
            )


_OUR_HEADERS = (
    "X-Request-Id",
    "X-Truncated",
    "Retry-After",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
    "metadata",
)
"""Response headers that scripts may read."""
