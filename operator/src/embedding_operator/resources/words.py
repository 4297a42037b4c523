"""pydantic's validation errors as messages about the object's fields."""

import copy
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from embedding_operator.resources.crd import structural

__all__ = ["in_words", "without_unknown"]

_Loc = Sequence[int | str]
_MAX_SHOWN = 100  # characters of a name or value that a user wrote


def in_words(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line a problem, the field's path first."""
    return [_in_words(each["type"], each["loc"], each["msg"], each["input"], model) for each in error.errors()]


def without_unknown(raw: Mapping[str, Any], error: ValidationError) -> dict[str, Any]:
    """The object without the fields that its model does not have."""
    kept = copy.deepcopy(dict(raw))
    for each in error.errors():
        if each["type"] == "extra_forbidden":
            parent: Any = kept
            for step in each["loc"][:-1]:
                parent = parent[step]
            del parent[each["loc"][-1]]
    return kept


def _in_words(kind: str, loc: _Loc, message: str, given: object, model: type[BaseModel]) -> str:
    path = _path(loc)
    if kind == "missing":
        return f"{path} is missing"
    if kind == "extra_forbidden":
        known = _fields(model, loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"valid fields: {', '.join(known)}"
        return f"{path}: unknown field; {hint}"
    shown = f", not {_shortened(repr(given))}" if isinstance(given, str | int | float | bool | None) else ""
    return f"{path}: {message.removeprefix('Value error, ')}{shown}"


def _path(loc: _Loc) -> str:
    steps = (f"[{step}]" if isinstance(step, int) else f".{_shortened(step)}" for step in loc)
    return "".join(steps).removeprefix(".")


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def _fields(model: type[BaseModel], loc: _Loc) -> list[str]:
    schema: Mapping[str, Any] = structural(model)
    for step in loc:
        properties = schema.get("properties", {})
        schema = schema["items"] if isinstance(step, int) else properties.get(step) or schema["additionalProperties"]
    return sorted(schema.get("properties", {}))
