"""A request's body: bytes in, the model that a route asks for out, or all that is wrong with it, in words."""

import contextlib
import difflib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.types import ASGIApp, Receive, Scope, Send

from embedding_runtime.errors import BadRequest, MalformedBody
from embedding_runtime.frontend.context import RequestContext, context_of
from embedding_runtime.frontend.dialects.base import RequestBody
from embedding_runtime.frontend.json_values import check_values
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.computing import run_large

__all__ = ["BodyRoute", "Choice", "Context"]


def _context(request: Request) -> RequestContext:
    return context_of(request.scope)


Context = Annotated[RequestContext, Depends(_context)]
"""The context of the request: an endpoint of a BodyRoute asks for it by `context: Context`."""


@dataclass(frozen=True)
class Choice:
    """Annotation of a `body` that may be of several models: which one, by the content of the request."""

    of: Callable[[Mapping[str, Any]], type[RequestBody]]


class BodyRoute(APIRoute):
    """A route that FastAPI documents, and that runs without it.

    A `body` is read and checked here; the endpoint gets it, the parameters of its path, and its `context` if it asks
    for that. FastAPI would look for dependencies, forms and files at every request, which no route here has, and for
    exceptions, which the middleware outside does: docs/performance.md.
    """

    bodies: tuple[type[RequestBody], ...] = ()
    """What the endpoint takes."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        hints = get_type_hints(endpoint, include_extras=True)
        if "body" in hints:
            body = hints["body"]
            model = body
            if get_origin(body) is Annotated:
                union, choice = get_args(body)
                self.bodies = get_args(union)
                model = choice
            else:
                self.bodies = (body,)
            self.app = _reading(model, endpoint, asks_for_context="context" in hints)


def _reading(
    model: type[RequestBody] | Choice, endpoint: Callable[..., Awaitable[Response]], *, asks_for_context: bool
) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        context = context_of(scope)
        context.receive = receive
        body = await _body(model, Request(scope, receive, send))
        context.lane = context.lane or body.lane
        if body.dropped:
            context.held_body.append(body.drop_texts)
        else:
            context.keeps_texts = True
        given = {**scope["path_params"], "body": body}
        if asks_for_context:
            given["context"] = context
        del body
        response = await endpoint(**given)
        given.clear()  # sending may wait for a client that has not read the answer before this one
        await response(scope, receive, send)

    return app


async def _body(model: type[RequestBody] | Choice, request: Request) -> RequestBody:
    """Raises BadRequest."""
    content = await request.body()
    split = RequestBody.split if isinstance(model, Choice) else model.split
    parts = split(content, request.headers) if content else None
    if parts is None:
        raise MalformedBody(_NO_OBJECT)
    if len(content) <= _LARGE:
        return _read(model, *parts)
    return await run_large(partial(_read_large, model, *parts, context_of(request.scope).limits))


_LARGE = 1 << 16
"""Bytes of a body above which it is parsed beside the loop."""


def _read_large(model: type[RequestBody] | Choice, head: bytes, rest: bytes, limits: Limits | None) -> RequestBody:
    """Raises BadRequest."""
    if limits is not None:
        check_values(head, limits)
    return _read(model, head, rest)


def _read(model: type[RequestBody] | Choice, head: bytes, rest: bytes) -> RequestBody:
    """Raises BadRequest."""
    found = _json(head)
    if not isinstance(found, dict):
        raise MalformedBody(_NO_OBJECT)
    return _checked(model.of(found) if isinstance(model, Choice) else model, found).attach(rest)


def _json(content: bytes) -> Any:
    """Raises MalformedBody."""
    with contextlib.suppress(ValueError):
        return from_json(content)  # without a copy of the whole as a string, of four bytes a character at worst
    try:
        return json.loads(
            content
        )  # it takes half of a surrogate pair, which has its own message, and names the problem
    except json.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not JSON: it is not valid {error.encoding.upper()}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists within lists within lists
        raise MalformedBody(f"the body is not JSON that can be read: {type(error).__name__}") from None


_NO_OBJECT = "the body is not a JSON object; send it with the header Content-Type: application/json"


def _checked(model: type[RequestBody], content: Mapping[str, Any]) -> RequestBody:
    """Raises BadRequest with all that is wrong, by place, without the values, which may be texts."""
    others = _other_fields(model, content)
    problems: dict[str, str | None] = {}  # the field of each message
    try:
        body = model.model_validate(content)
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            problems.setdefault(_message(each, model.refused), str(each["loc"][0]))
    else:
        if not others:
            return body
    count = len(problems) + len(others)
    for name in others[: max(_MOST_PROBLEMS - len(problems), 0)]:
        problems[_other_field(model, name)] = name if _NAME.fullmatch(name) else None
    more = f"; and {count - _MOST_PROBLEMS} more" if count > _MOST_PROBLEMS else ""
    raise BadRequest("; ".join(list(problems)[:_MOST_PROBLEMS]) + more, param=next(iter(problems.values())))


def _other_fields(model: type[RequestBody], content: Mapping[str, Any]) -> list[str]:
    """Those that the model does not have, and that may not be ignored."""
    if content.keys() <= model.model_fields.keys():
        return []
    known = model.model_fields.keys() | model.ignored
    return [name for name, value in content.items() if value is not None and name not in known]


def _other_field(model: type[RequestBody], name: str) -> str:
    if name in model.refused:
        return f"{name} is not supported: {model.refused[name]}"
    if not _NAME.fullmatch(name):
        return "there is an unknown field, whose name is not repeated here: leave it out"
    if near := difflib.get_close_matches(name, model.model_fields, n=1):
        return f"{name}: unknown field; did you mean {near[0]}?"
    return f"{name}: unknown field; valid fields: {', '.join(model.model_fields)}"


_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""What may be a field. Anything else may be a text."""


_MOST_PROBLEMS = 20
"""In one message."""


def _message(error: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    """One of pydantic's errors, with its place in front."""
    place, last = "", ""
    for part in error["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place, last = f"{place}.{part}" if place else str(part), str(part)
    if error["type"] == "missing":
        return f"{place} is missing"
    said = error["msg"].removeprefix("Value error, ")
    return f"{place}: {said}; {refused[last]}" if last in refused else f"{place}: {said}"
