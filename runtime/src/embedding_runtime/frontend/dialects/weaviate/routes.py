"""The API that Weaviate's text2vec-transformers module calls at its `inferenceUrl`, for single texts and batches.

Source: usecases/modulecomponents/clients/transformers in weaviate/weaviate. Weaviate sends no API key.
"""

import importlib.metadata
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field
from starlette.datastructures import Headers

from embedding_runtime import errors
from embedding_runtime.errors import BadRequest, NotReady
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.base import EXAMPLE, Answer, Many, Part, RequestBody, Text, Vector, is_json
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.dialect import Dialect
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.scheduler.base import State

__all__ = ["WEAVIATE", "router"]


class WeaviateError(Answer):
    """Weaviate's error format."""

    error: str


WEAVIATE = Dialect("Weaviate", WeaviateError, lambda failure: {"error": failure.message})


class _Config(Part):
    pooling_strategy: Annotated[str | None, Field(description="ignored: the model's files define its pooling")] = None
    task_type: Annotated[
        Literal["query", "passage", "document"] | None,
        Field(
            description="selects the prompt that is put before the texts, if the model has one for it; document is an "
            "older name of passage"
        ),
    ] = None
    dimensions: Annotated[int | None, Field(ge=1, description="truncate the vectors to this many dimensions")] = None


class VectorsRequest(RequestBody):
    """`POST /vectors`: either `text` or `texts`."""

    ignored = frozenset({"dims", "vector", "error"})  # fields of the response, which Weaviate sends empty

    text: Annotated[Text | None, Field(description="a single text; exclusive with `texts`", examples=[EXAMPLE])] = None
    texts: Annotated[Many[Text] | None, Field(min_length=1, description="texts; exclusive with `text`")] = None
    config: Annotated[_Config | None, Field(description="pooling_strategy, task_type, dimensions")] = None

    @classmethod
    def split(cls, content: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """Accept JSON without a Content-Type, too: Weaviate sends none with a single text."""
        return (content, b"") if is_json(headers) or "content-type" not in headers else None


class OneVector(Answer):
    """The vector of `text`."""

    text: str
    dims: int
    vector: Vector


class Vectors(Answer):
    """The vectors of `texts`, in order."""

    vectors: list[Vector]
    dims: int


class Meta(Answer):
    """The model, for Weaviate's /v1/meta."""

    model: str
    version: str
    dimensions: int
    max_length: int


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = WEAVIATE.router()

    @routes.post(
        "/vectors",
        summary="A vector for text, or vectors for texts",
        response_model=OneVector | Vectors,
        responses=WEAVIATE.failures(),
    )
    async def _(body: VectorsRequest, context: Context) -> Response:
        return await _vectors(service, body, context)

    @routes.get("/meta", summary="The model", response_model=Meta, responses=WEAVIATE.failures(errors.Unauthorized))
    async def meta() -> Response:
        spec, version = service.spec, importlib.metadata.version("embedding-runtime")
        limits = {"dimensions": spec.dimensions, "max_length": spec.max_length}
        return json_of({"model": service.name, "version": version, **limits})

    probes = WEAVIATE.failures(errors.Unauthorized, errors.NotServing)

    @routes.get("/.well-known/live", summary="Liveness", responses=probes)
    async def live() -> Response:
        return _probed(service, well=service.engine.state is not State.FAILED)

    @routes.get("/.well-known/ready", summary="Readiness", responses=probes)
    async def ready() -> Response:
        return _probed(service, well=service.engine.state is State.READY)

    return routes


def _probed(service: Service, *, well: bool) -> Response:
    if not well:
        raise NotReady(service.engine.reason)
    return json_of({})


async def _vectors(service: Service, body: VectorsRequest, context: RequestContext) -> Response:
    if (body.text is None) == (body.texts is None):
        raise BadRequest("text: exactly one of text and texts is required", param="text")
    config = body.config or _Config()
    options = Options.of(service.spec, dimensions=config.dimensions, input_type=config.task_type)
    given, field = (body.texts, "texts") if body.text is None else (body.text, "text")
    rows, _ = await service.vectors(context, given or [], options, field=field)
    found = await encoded(rows, "float")
    if body.text is None:
        return json_of({"vectors": found, "dims": rows.shape[1]})
    return json_of({"text": body.text, "dims": rows.shape[1], "vector": found[0]})
