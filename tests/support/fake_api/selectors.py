"""Label selectors and field selectors, as they are in a query."""

import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["selects"]

Json = dict[str, Any]


def selects(query: Mapping[str, str]) -> Callable[[Json], bool]:
    """Whether an object is one that the query asks for."""
    labels = [_label(each) for each in _parts(query.get("labelSelector", ""))]
    fields = [_comparison(each) for each in _parts(query.get("fieldSelector", ""))]
    return lambda obj: (
        all(each(obj["metadata"].get("labels", {})) for each in labels) and all(each(_field(obj)) for each in fields)
    )


def _parts(selector: str) -> list[str]:
    return [each.strip() for each in re.split(r",(?![^(]*\))", selector) if each.strip()]


def _label(part: str) -> Callable[[Mapping[str, str]], bool]:
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)", part):
        name, wanted, values = match[1], match[2] == "in", {each.strip() for each in match[3].split(",")}
        return lambda labels: (labels.get(name) in values) == wanted
    if "=" in part:
        comparison = _comparison(part)
        return lambda labels: comparison(labels.get)
    name = part.lstrip("!")
    return lambda labels: (name in labels) != part.startswith("!")


def _comparison(part: str) -> Callable[[Callable[[str], str | None]], bool]:
    name, operator, value = re.split(r"(!=|==|=)", part, maxsplit=1)
    return lambda get: (get(name.strip()) == value.strip()) != (operator == "!=")


def _field(obj: Json) -> Callable[[str], str | None]:
    def get(path: str) -> str | None:
        found: Any = obj
        for name in path.split("."):
            found = found.get(name, {}) if isinstance(found, dict) else {}
        return str(found) if found != {} else None

    return get
