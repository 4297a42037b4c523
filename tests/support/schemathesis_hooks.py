"""What schemathesis cannot know: the name of the model that is served. Loaded by it (SCHEMATHESIS_HOOKS)."""

from typing import Any

import schemathesis

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
