"""A dialect: one API's name in the OpenAPI document, its format of errors and its status codes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self

from fastapi import APIRouter

from embedding_runtime import errors
from embedding_runtime.errors import RuntimeFault
from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.bodies import BodyRoute

__all__ = ["Dialect", "Failure"]


@dataclass(frozen=True)
class Failure:
    """An error, before a dialect formats it."""

    status: int
    """The HTTP status in this dialect."""
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Dialect:
    """One API. Each route made with `router` carries its dialect."""

    name: str
    """Heading of its routes in the OpenAPI document."""
    error: type[Answer]
    """Schema of its errors."""
    format_error: Callable[[Failure], Mapping[str, Any]]
    """Formats an error as the JSON of the response."""
    statuses: Mapping[type[RuntimeFault], int] = field(default_factory=dict)
    """HTTP statuses that differ from the fault's own. A class includes its subclasses."""
    prefix: str | None = None
    """Unknown paths below this prefix get their 404 in this dialect's format."""

    def router(self, prefix: str = "") -> APIRouter:
        """Return a router for routes of this dialect."""
        return APIRouter(
            prefix=prefix, tags=[self.name], route_class=type("DialectRoute", (BodyRoute,), {"dialect": self})
        )

    def status(self, fault: type[RuntimeFault]) -> int:
        """The HTTP status of a response to this fault."""
        return next((self.statuses[kind] for kind in fault.__mro__ if kind in self.statuses), fault.status)

    def failure(self, fault: RuntimeFault) -> Failure:
        """The fault with this dialect's status."""
        return Failure(self.status(type(fault)), str(fault), fault.type, fault.param, fault.code)

    def failures(self, *only: type[RuntimeFault]) -> dict[int | str, dict[str, Any]]:
        """A route's error responses, for FastAPI's `responses`. `only`: those of a route that needs no worker."""
        found: dict[int, list[str]] = {}
        for fault in only or _DESCRIBED:
            found.setdefault(self.status(fault), []).append(_DESCRIBED[fault])
        if not only:
            found.setdefault(HTTPStatus.INTERNAL_SERVER_ERROR, []).append("internal server error")
        return {status: {"model": self.error, "description": "; or ".join(found[status])} for status in sorted(found)}

    @classmethod
    def of(cls, route: object) -> Self | None:
        """The dialect of a route, if it has one."""
        found: Self | None = getattr(route, "dialect", None)
        return found


_DESCRIBED: Mapping[type[RuntimeFault], str] = {
    errors.BadRequest: "the request is invalid; the message names the field and what is allowed",
    errors.MalformedBody: "the body is not a JSON object",
    errors.InputTooLong: "an input has more tokens than the model's maximum",
    errors.RequestTooLarge: "the request has more texts or tokens than the server allows",
    errors.UnsupportedTask: "the served model does not support this task",
    errors.Unauthorized: "missing or invalid API key",
    errors.UnknownModel: "the requested model is not served",
    errors.BodyTooLate: "the body did not arrive in time",
    errors.BodyTooLarge: "the body is larger than the server allows",
    errors.Overloaded: "the queue is full, or the API key's tokens of this minute are used up; retry after the "
    "seconds in Retry-After",
    errors.OneText: "the model failed for one of the texts, or returned NaN or infinity",
    errors.NotServing: "the model is still loading, or its process has failed",
    errors.DeadlinePassed: "the deadline of the request passed",
}
