"""Problems in the form that checks return them."""

from collections.abc import Iterable

from embedding_operator.core.reasons import Reason
from embedding_operator.errors import Problem

__all__ = ["invalid", "quoted"]

_MAX_QUOTED = 100


def invalid(messages: Iterable[str]) -> list[Problem]:
    """The same reason for each: something in the spec has to change."""
    return [Problem(Reason.INVALID_SPEC, message) for message in messages]


def quoted(text: str) -> str:
    """A value in a message: quoted, what does not print escaped, and cut when it is long."""
    return repr(text) if len(text) <= _MAX_QUOTED else f"{text[:_MAX_QUOTED]!r}... ({len(text)} characters)"
