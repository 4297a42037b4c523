"""Parse and validate request bodies: bytes in, the route's model out, or one error that lists every problem."""

import contextlib
import difflib
import json
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
from embedding_runtime.frontend.dialects.base import PLAUSIBLE_NAME, RequestBody
from embedding_runtime.frontend.json_values import check_values
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.computing import run_large

__all__ = ["BodyRoute", "Choice", "Context"]


def _context(request: Request) -> RequestContext:
    return context_of(request.scope)


Context = Annotated[RequestContext, Depends(_context)]
"""The request context. An endpoint of a BodyRoute gets it with a parameter `context: Context`."""


@dataclass(frozen=True)
class Choice:
    """Annotation of a `body` with several possible models: selects one by the content of the request."""

    of: Callable[[Mapping[str, Any]], type[RequestBody]]


class BodyRoute(APIRoute):
    """A route that FastAPI documents but does not run.

    It reads and validates the `body`, and calls the endpoint with it, the path parameters, and the `context` if the
    endpoint has such a parameter. FastAPI would look for dependencies, forms and files in every request, which no route
    here uses, and handle exceptions, which the middleware does: docs/performance.md.
    """

    bodies: tuple[type[RequestBody], ...] = ()
    """The models that the endpoint accepts."""

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
        given.clear()  # sending may wait until the client has read the previous response
        await response(scope, receive, send)

    return app


async def _body(model: type[RequestBody] | Choice, request: Request) -> RequestBody:
    """Raises BadRequest."""
    content = (await request.receive()).get("body", b"")  # BodyReader hands all of it over at once
    split = RequestBody.split if isinstance(model, Choice) else model.split
    parts = split(content, request.headers) if content else None
    if parts is None:
        raise MalformedBody(_NO_OBJECT)
    if "content-encoding" in request.headers and content[0] not in _STARTS:  # some clients send utf-8 as the encoding
        raise MalformedBody("compressed bodies are not supported: send JSON without the header Content-Encoding")
    if len(content) <= _LARGE:
        return _read(model, *parts)
    return await run_large(partial(_read_large, model, *parts, context_of(request.scope).limits))


_STARTS = b"{ \t\r\n"
"""How the JSON of a body may start."""

_LARGE = 1 << 16
"""A body of more bytes is parsed in a thread, off the event loop."""


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
        return from_json(content)  # json.loads would copy the body to a string of up to four bytes per character
    try:  # json.loads describes the problem, and accepts unpaired surrogates, which have their own message
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise MalformedBody(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    except UnicodeDecodeError as error:
        raise MalformedBody(f"the body is not JSON: it is not valid {error.encoding.upper()}") from None
    except RecursionError:
        raise MalformedBody("the lists and objects of the body are nested too deeply") from None
    except ValueError:
        raise MalformedBody("the body has a number with too many digits") from None


_NO_OBJECT = "the body is not a JSON object: send one, with the header Content-Type: application/json"


def _checked(model: type[RequestBody], content: Mapping[str, Any]) -> RequestBody:
    """Validate. Raises BadRequest with every problem and its place, but without values, which may be users' texts."""
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
        problems[_other_field(model, name)] = name if PLAUSIBLE_NAME.fullmatch(name) else None
    more = f"; and {count - _MOST_PROBLEMS} more" if count > _MOST_PROBLEMS else ""
    raise BadRequest("; ".join(list(problems)[:_MOST_PROBLEMS]) + more, param=next(iter(problems.values())))


def _other_fields(model: type[RequestBody], content: Mapping[str, Any]) -> list[str]:
    """Names of fields that are neither in the model nor ignored."""
    if content.keys() <= model.model_fields.keys():
        return []
    known = model.model_fields.keys() | model.ignored
    return [name for name, value in content.items() if value is not None and name not in known]


def _other_field(model: type[RequestBody], name: str) -> str:
    if name in model.refused:
        return f"{name} is not supported: {model.refused[name]}"
    if not PLAUSIBLE_NAME.fullmatch(name):
        return "the body has an unknown field whose name is not valid (letters, digits, _ . - only): remove it"
    if near := difflib.get_close_matches(name, model.model_fields, n=1):
        return f"{name}: unknown field; did you mean {near[0]}?"
    return f"{name}: unknown field; valid fields: {', '.join(model.model_fields)}"


_MOST_PROBLEMS = 20
"""Problems that one message lists."""


def _message(error: Mapping[str, Any], refused: Mapping[str, str]) -> str:
    """One of pydantic's errors, prefixed with its place."""
    place, last = "", ""
    for part in error["loc"]:
        if isinstance(part, int):
            place += f"[{part}]"
        else:
            place, last = f"{place}.{part}" if place else str(part), str(part)
    if error["type"] == "missing":
        return f"{place} is required"
    message = error["msg"].removeprefix("Value error, ")
    return f"{place}: {message}; {refused[last]}" if last in refused else f"{place}: {message}"
