"""Hooks for schemathesis: the name of the served model, and sufficient timeouts.

Loaded by it (SCHEMATHESIS_HOOKS).
"""

import contextlib
from typing import Any

import schemathesis

from embedding_runtime.frontend.limits import TIMEOUT_HEADER
from support.runtime_server import NAME


@schemathesis.hook
def map_body(_: object, body: Any) -> Any:
    """Requests that name a model name ours, so that they get further than to 404."""
    if isinstance(body, dict) and isinstance(body.get("model"), str):
        return {**body, "model": NAME}
    return body


@schemathesis.hook
def map_path_parameters(_: object, parameters: Any) -> Any:
    """As for bodies."""
    return {**parameters, "name": NAME} if parameters and "name" in parameters else parameters


@schemathesis.hook
def before_call(_: object, case: Any, **__: object) -> None:
    """Times that may be too short become enough: 504 would be right."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        if float(case.headers[TIMEOUT_HEADER]) > 0:
            case.headers[TIMEOUT_HEADER] = "60"
