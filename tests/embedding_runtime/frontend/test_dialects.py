"""Every route has a dialect, and every error has the format of the requested path's dialect."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute

from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.dialects.base import RequestBody
from embedding_runtime.frontend.dialects.bodies import BodyRoute
from embedding_runtime.frontend.dialects.dialect import Dialect
from support.played_worker import a_worker
from support.runtime_server import NAME, RuntimeServer
from support.services import a_service

Shape = dict[str, type[object]]

OPENAI: Shape = {"error": dict}
COHERE: Shape = {"message": str}
INFERENCE: Shape = {"error": str}
TEI: Shape = {"error": str, "error_type": str}

PATHS: list[tuple[str, Shape]] = [
    ("/v1/embeddings", OPENAI),
    ("/openai/v1/rerank", OPENAI),
    ("/score", OPENAI),
    ("/classify", OPENAI),
    ("/invocations", OPENAI),
    ("/v1/embed", COHERE),
    ("/v2/embed", COHERE),
    ("/v2/rerank", COHERE),
    (f"/v1/models/{NAME}:predict", INFERENCE),
    (f"/v2/models/{NAME}/infer", INFERENCE),
    (f"/v2/models/{NAME}/versions/1/infer", INFERENCE),
    ("/", TEI),
    ("/embed", TEI),
    ("/rerank", TEI),
    ("/predict", TEI),
    ("/decode", TEI),
    ("/vectors", INFERENCE),
]
NOWHERE: list[tuple[str, Shape]] = [
    ("/v1/nowhere", OPENAI),
    ("/nowhere", OPENAI),
    ("/v1/embed/", OPENAI),
    ("/v2/nowhere", INFERENCE),
    ("/v2/", INFERENCE),
    ("/v20", OPENAI),
]


@pytest.fixture(scope="module")
def with_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    keys: Path = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("somebody a-key-of-some-length\n")
    with RuntimeServer("fake", api_keys_file=keys) as server:
        yield server.ready()


def shape(content: Any) -> Shape:
    return {name: type(value) for name, value in content.items()}


@pytest.mark.parametrize(("path", "words"), PATHS)
def test_invalid_bodies_and_methods_have_the_dialects_error_format(
    fake_server: RuntimeServer, path: str, words: Shape
) -> None:
    assert shape(fake_server.post(path, zzz=1).json()) == words
    with fake_server.http() as http:
        answer = http.delete(path)
    assert (answer.status_code, shape(answer.json())) == (405, words)


@pytest.mark.parametrize(("path", "words"), [*PATHS, *NOWHERE])
def test_a_missing_key_has_the_dialects_error_format(with_keys: RuntimeServer, path: str, words: Shape) -> None:
    answer = with_keys.post(path)
    assert (answer.status_code, shape(answer.json())) == (401, words)


@pytest.mark.parametrize(("path", "words"), NOWHERE)
def test_an_unknown_path_has_the_error_format_of_its_prefix(
    fake_server: RuntimeServer, path: str, words: Shape
) -> None:
    answer = fake_server.post(path)
    assert (answer.status_code, shape(answer.json())) == (404, words)


async def test_every_route_with_a_body_has_a_dialect() -> None:
    async with a_worker() as worker:
        routes = create_app(a_service(worker.engine)).routes
    posts = [route for route in routes if isinstance(route, APIRoute) and "POST" in route.methods]
    assert len(posts) > 20
    assert [route.path for route in posts if Dialect.of(route) is None] == []
    assert [route.path for route in posts if not (isinstance(route, BodyRoute) and route.bodies)] == []


def subclasses(model: type[RequestBody]) -> set[type[RequestBody]]:
    return {model, *(each for child in model.__subclasses__() for each in subclasses(child))}


def bare_unions(schema: Any, *, worded: bool = False) -> Iterator[str]:
    """Forms of which each would have an error of its own."""
    if isinstance(schema, dict):
        if schema.get("type") == "union" and not worded:
            yield str(schema)
        worded = worded or schema.get("type") == "custom-error"
        for value in schema.values():
            yield from bare_unions(value, worded=worded)
    elif isinstance(schema, list | tuple):
        for value in schema:
            yield from bare_unions(value, worded=worded)


@pytest.mark.parametrize("model", sorted(subclasses(RequestBody), key=str), ids=str)
def test_a_field_with_several_forms_has_one_error(model: type[RequestBody]) -> None:
    assert list(bare_unions(model.__pydantic_core_schema__)) == []
