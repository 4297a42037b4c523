"""A dialect: how one API names its routes in the document, and how it words an error."""

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
    """What went wrong, for every dialect to word."""

    status: int
    """As the dialect has it."""
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class Dialect:
    """One API. A route knows its own: `router` gives it to all that are made with it."""

    name: str
    """Heading of its routes in the API's document."""
    error: type[Answer]
    """Schema of its errors."""
    worded: Callable[[Failure], Mapping[str, Any]]
    """The content of an error's answer."""
    statuses: Mapping[type[RuntimeFault], int] = field(default_factory=dict)
    """Where they are not the fault's own. A class stands for those below it."""
    prefix: str | None = None
    """Of paths where nothing is, and where 404 is worded as this dialect does."""

    def router(self, prefix: str = "") -> APIRouter:
        """For routes of this dialect."""
        return APIRouter(
            prefix=prefix, tags=[self.name], route_class=type("DialectRoute", (BodyRoute,), {"dialect": self})
        )

    def status(self, fault: type[RuntimeFault]) -> int:
        """The HTTP status of an answer to it."""
        return next((self.statuses[kind] for kind in fault.__mro__ if kind in self.statuses), fault.status)

    def failure(self, fault: RuntimeFault) -> Failure:
        """The fault as this dialect words it."""
        return Failure(self.status(type(fault)), str(fault), fault.type, fault.param, fault.code)

    def failures(self, *only: type[RuntimeFault]) -> dict[int | str, dict[str, Any]]:
        """What a route can answer instead, for FastAPI's `responses`; `only`: of a route that computes nothing."""
        found: dict[int, list[str]] = {}
        for fault in only or _DESCRIBED:
            found.setdefault(self.status(fault), []).append(_DESCRIBED[fault])
        if not only:
            found.setdefault(HTTPStatus.INTERNAL_SERVER_ERROR, []).append("a fault of the server")
        return {status: {"model": self.error, "description": "; or ".join(found[status])} for status in sorted(found)}

    @classmethod
    def of(cls, route: object) -> Self | None:
        """The dialect that a route was made with."""
        found: Self | None = getattr(route, "dialect", None)
        return found


_DESCRIBED: Mapping[type[RuntimeFault], str] = {
    errors.BadRequest: "the request cannot be served as it is; the message names the field and what is allowed",
    errors.MalformedBody: "the body is not a JSON object",
    errors.InputTooLong: "an input has more tokens than the model takes",
    errors.RequestTooLarge: "more texts or tokens than one request may have",
    errors.UnsupportedTask: "the served model is of another kind",
    errors.Unauthorized: "no API key, or an invalid one, where the server has keys",
    errors.UnknownModel: "another model than the one that is served",
    errors.BodyTooLate: "the body did not arrive in time",
    errors.BodyTooLarge: "the body is larger than the server reads",
    errors.Overloaded: "too much is queued already, or the API key's tokens of this minute are spent; Retry-After has "
    "seconds",
    errors.OneText: "the model gave NaN or infinity for a text, or cannot compute it",
    errors.NotServing: "the model is still loading, or its process has failed",
    errors.DeadlinePassed: "the deadline of the request passed",
}
