"""A request's body: bytes in, the model that a route asks for out, or all that is wrong with it, in words."""

import difflib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeVar, get_type_hints

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext, context_of
from embedding_runtime.frontend.dialects.base import RequestBody

__all__ = ["BodyRoute", "Context"]

Model = TypeVar("Model", bound=RequestBody)


def _context(request: Request) -> RequestContext:
    return context_of(request.scope)


Context = Annotated[RequestContext, Depends(_context)]
"""The context of the request: an endpoint of a BodyRoute asks for it by `context: Context`."""


class BodyRoute(APIRoute):
    """A route that FastAPI documents, and that runs without it.

    A `body` is read and checked here; the endpoint gets it, what stands in its path, and its `context` if it asks for
    that. FastAPI would look for dependencies, forms and files at every request, which no route here has, and for
    exceptions, which the middleware outside does: docs/performance.md.
    """

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        hints = get_type_hints(endpoint)
        if "body" in hints:
            self.app = _reading(hints["body"], endpoint, asks_for_context="context" in hints)


def _reading(
    model: type[RequestBody], endpoint: Callable[..., Awaitable[Response]], *, asks_for_context: bool
) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        given = {**scope["path_params"], "body": await _body(model, request)}
        if asks_for_context:
            given["context"] = context = context_of(scope)
            context.receive = receive
        response = await endpoint(**given)
        await response(scope, receive, send)

    return app


async def _body(model: type[Model], request: Request) -> Model:
    """Raises BadRequest."""
    try:
        return _checked(model, await _json(request))
    except BadRequest:
        if _BINARY in request.headers:
            raise BadRequest(f"{_BINARY}: binary tensors are not taken; send BYTES in JSON, in data") from None
        raise


_BINARY = "Inference-Header-Content-Length"
"""Header of Open Inference's binary extension."""


async def _json(request: Request) -> Any:
    """Raises BadRequest."""
    content = await request.body()
    if not content or not _JSON.match(request.headers.get("content-type", "")):
        raise BadRequest(_NO_OBJECT)
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not JSON: it is no {error.encoding.upper()}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists within lists within lists
        raise BadRequest(f"the body is not JSON that can be read: {type(error).__name__}") from None


_JSON = re.compile(r"application/([\w.+-]+\+)?json\s*(;|$)", re.IGNORECASE | re.ASCII)

_NO_OBJECT = "the body is not a JSON object; send it with the header Content-Type: application/json"


def _checked(model: type[Model], content: Any) -> Model:
    """Raises BadRequest with all that is wrong, by place, without the values, which may be texts."""
    if not isinstance(content, dict):
        raise BadRequest(_NO_OBJECT)
    others = _other_fields(model, content)
    told: dict[str, str] = {}  # by what is wrong, its field: a field that takes several forms has an error for each
    try:
        body = model.model_validate(content)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            told.setdefault(_about(each, model.instead), str(each["loc"][0]))
    else:
        if not others:
            return body
    problems = len(told) + len(others)
    for name in others[: max(_TOLD - len(told), 0)]:
        told[_other_field(model, name)] = name
    more = f"; and {problems - _TOLD} more" if problems > _TOLD else ""
    raise BadRequest("; ".join(list(told)[:_TOLD]) + more, param=next(iter(told.values())))


def _other_fields(model: type[RequestBody], content: Mapping[str, Any]) -> list[str]:
    """Those that the model does not have, and that may not be passed over."""
    if content.keys() <= model.model_fields.keys():
        return []
    known = model.model_fields.keys() | model.harmless
    return [name for name, value in content.items() if value is not None and name not in known]


def _other_field(model: type[RequestBody], name: str) -> str:
    if name in model.instead:
        return f"{name} is not supported: {model.instead[name]}"
    if not _NAME.fullmatch(name):
        return "there is an unknown field, whose name is not repeated here: leave it out"
    if near := difflib.get_close_matches(name, model.model_fields, n=1):
        return f"{name}: unknown field; did you mean {near[0]}?"
    return f"{name}: unknown field; valid fields: {', '.join(model.model_fields)}"


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What may be a field. Anything else may be a text."""


_TOLD = 20

_ANY_INPUT = "a string, a list of strings, a list of token ids, or a list of lists of token ids"
_TEXT_OR_TEXTS = "a string or a list of strings, of whole Unicode characters"
_WANTED = {
    "input": f"{_ANY_INPUT}; strings of whole Unicode characters",
    "inputs": f"{_ANY_INPUT}; strings of whole Unicode characters",
    **dict.fromkeys(("text_1", "text_2", "queries"), _TEXT_OR_TEXTS),
    "documents": "a string, or an object with text, of whole Unicode characters",
    "data": "a list of strings, of whole Unicode characters",
    "truncate": "true, false, NONE, START or END",
}
"""Of fields that take several forms, for each of which pydantic has errors of its own."""


def _about(error: Mapping[str, Any], instead: Mapping[str, str]) -> str:
    field, *inner = error["loc"]
    place, last = str(field), str(field)
    for part in inner:
        if isinstance(part, int):
            place += f"[{part}]"
        elif "[" in part or part in {"bool", "str"} or part.startswith("_"):
            # A form that the field may have, in pydantic's words.
            return f"{place}: it has to be {_WANTED[last]}"
        else:
            place, last = f"{place}.{part}", part
    said = error["msg"].removeprefix("Value error, ")
    if error["type"] == "missing":
        return f"{place} is missing"
    return f"{place}: {said}; {instead[last]}" if last in instead else f"{place}: {said}"
