"""Refusals of the API server, in its own words: what a client gets as a Status object."""

from collections.abc import Sequence
from typing import Any

__all__ = ["ApiError", "conflict", "invalid", "not_found"]


class ApiError(Exception):
    """One refused request."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        causes: Sequence[dict[str, str]] = (),
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.causes = causes
        self.retry_after = retry_after

    def status(self) -> dict[str, Any]:
        """The body of the answer."""
        details = {"causes": list(self.causes)} if self.causes else {}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": str(self),
            "reason": self.reason,
            "details": details,
            "code": self.code,
        }


def not_found(resource: str, name: str) -> ApiError:
    """`resource` is the plural with its group."""
    return ApiError(404, "NotFound", f'{resource} "{name}" not found')


def conflict(resource: str, name: str, why: str) -> ApiError:
    """A precondition that does not hold any more."""
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {why}')


def invalid(kind: str, name: str, problems: Sequence[str]) -> ApiError:
    """`kind` with its group; each problem is `field: what is wrong`."""
    causes = [
        {"reason": "FieldValueInvalid", "field": field, "message": words}
        for field, _, words in (problem.partition(": ") for problem in problems)
    ]
    words = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {words}', causes=causes)
