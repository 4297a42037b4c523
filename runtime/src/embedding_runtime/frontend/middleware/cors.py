"""CORS: scripts of which other web pages may ask. By default of none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from embedding_runtime.contract import ServeArgs

__all__ = ["CorsRules"]


@dataclass(frozen=True)
class CorsRules:
    """Scripts of which web pages may ask, and how: as the flags of the same names."""

    allowed_origins: Sequence[str] = ()
    allowed_methods: Sequence[str] = ()
    allowed_headers: Sequence[str] = ()
    allow_credentials: bool = False

    @classmethod
    def of(cls, args: ServeArgs) -> Self:
        """The flags that concern browsers."""
        return cls(**{name: getattr(args, name) for name in cls.__dataclass_fields__})

    def add_to(self, app: FastAPI) -> None:
        """Above the API keys: a browser sends none with its preflight."""
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
"""Of answers, which scripts may read."""
