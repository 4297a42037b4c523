"""What schemathesis cannot know: the name of the model that is served, and the time that its work takes.

Loaded by it (SCHEMATHESIS_HOOKS).
"""

from typing import Any

import schemathesis

from embedding_runtime.api.limits import TIMEOUT_HEADER
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
def map_headers(_: object, headers: Any) -> Any:
    """Requests that may take too short a time get enough: 504 would be right."""
    try:
        given = float(headers[TIMEOUT_HEADER])
    except (KeyError, TypeError, ValueError):
        return headers
    return {**headers, TIMEOUT_HEADER: "60"} if given > 0 else headers
