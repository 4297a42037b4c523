"""Jinja templates of YAML objects, rendered and parsed once for each distinct text.

What tells services apart (metadata, selectors, arguments) is set by the builders afterwards: so services that are alike
share one text.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import DictLoader, Environment, StrictUndefined

from embedding_operator.errors import RenderFailed

__all__ = ["render"]

_NOT_IN_YAML = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's takes an eighth of the time


def render(template: str, /, **values: Any) -> dict[str, Any]:
    """A template's output, parsed; the caller's own copy. Templates hold no logic beyond leaving things out.

    Raises RenderFailed, which is a bug.
    """
    rendered: dict[str, Any] = json.loads(_parsed(template, _TEMPLATES.get_template(template).render(values)))
    return rendered


@lru_cache(maxsize=4096)
def _parsed(template: str, text: str) -> str:
    """The object as JSON: of all forms that can be kept it is the smallest, and the fastest to copy."""
    try:
        parsed = yaml.load(text, Loader=_Loader)  # noqa: S506 a safe loader, either way
    except yaml.YAMLError as error:
        raise RenderFailed(f"template {template} does not render to YAML: {error}") from error
    if not isinstance(parsed, dict) or (path := _null(parsed)):
        raise RenderFailed(f"template {template} renders to an object with null at {path}: {text}")
    return json.dumps(parsed)


def _null(value: Any, path: str = "") -> str | None:
    """Path of a value that is null, where none may be."""
    if value is None:
        return path or "its root"
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, part in parts if (found := _null(part, f"{path}.{key}"))), None)


def _dumps(value: Any, **_: Any) -> str:
    """JSON that is YAML too: what YAML does not print is escaped, each character by itself, never as a pair."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _environment() -> Environment:
    folder = files("embedding_operator").joinpath("templates")
    loader = DictLoader({each.name: each.read_text(encoding="utf-8") for each in folder.iterdir()})
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701 YAML, not HTML
    environment.policies["json.dumps_function"] = _dumps
    return environment


_TEMPLATES = _environment()
