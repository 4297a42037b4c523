"""OpenAI's `/embeddings` and `/models`."""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime import errors
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.openai import outputs
from embedding_runtime.frontend.dialects.openai.errors import OPENAI
from embedding_runtime.frontend.dialects.openai.schema import Embeddings, EmbeddingsRequest, Model, Models
from embedding_runtime.frontend.pipeline.answers import json_of, packed
from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness, check_bytes, item_size
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.scheduler.base import State

__all__ = ["embeddings", "router"]


def router(service: Service, prefix: str) -> APIRouter:
    """The routes under a prefix: /v1, /openai/v1, or none."""
    routes = OPENAI.router(prefix)

    @routes.post(
        "/embeddings",
        summary="Vectors for texts",
        response_model=Embeddings,
        responses=OPENAI.failures() | {200: {"content": {"application/octet-stream": _BINARY}}},
    )
    async def _(body: EmbeddingsRequest, context: Context) -> Response:
        return await embeddings(service, body, context)

    @routes.get(
        "/models",
        summary="The served model",
        response_model=Models,
        responses=OPENAI.failures(errors.Unauthorized),
    )
    async def models() -> Response:
        names = [service.name, *service.aliases]
        return json_of({"object": "list", "data": [await _model(service, name) for name in names], "models": names})

    @routes.get(
        "/models/{name:path}",
        summary="The model of that name; also KServe's V1 readiness probe",
        response_model=Model,
        responses=OPENAI.failures(errors.Unauthorized, errors.UnknownModel),
    )
    async def model(name: str) -> Response:
        return json_of(await _model(service, service.name_for(name)))

    return routes


async def embeddings(service: Service, body: EmbeddingsRequest, context: RequestContext) -> Response:
    """Handle /embeddings."""
    name = service.name_for(body.model)
    options = Options.of(
        service.spec,
        dimensions=body.dimensions,
        truncate=body.truncate,
        sides=(body.truncation_direction, body.truncation_side),
        keep_tokens=body.truncate_prompt_tokens,
        normalize=body.normalize,
        prompt_name=body.prompt_name,
        input_type=body.input_type,
        kind=outputs.check(service, body),
    )
    encoding = _encoding(body, options.dimensions)
    dtype, endianness = body.embed_dtype or "float32", body.endianness or "little"
    answer = {"id": f"embd-{context.id}", "created": int(time.time()), "model": name}
    if encoding in ("bytes", "bytes_only"):
        numbers = range(_number(body.input))
        items = [] if encoding == "bytes_only" else _items(numbers, options.dimensions, dtype, endianness)
        _check_metadata(items)
        rows, tokens = await service.vectors(context, body.input, options)
        content = await packed(rows, dtype, endianness)
        metadata = {**answer, "data": items, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
        headers = {"metadata": json.dumps(metadata)} if items else {}
        return Response(content, headers=headers, media_type="application/octet-stream")
    columns, tokens = await outputs.columns(service, context, body, options, encoding)
    return json_of(
        {
            "id": answer["id"],
            "object": "list",
            "created": answer["created"],
            "data": _data(columns, context),
            "model": name,
            "usage": {
                "prompt_tokens": tokens,
                "total_tokens": tokens,
                "completion_tokens": 0,
                "prompt_tokens_details": None,
            },
        }
    )


_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _encoding(body: EmbeddingsRequest, dimensions: int) -> str:
    """Return the encoding. Raises BadRequest for fields that contradict each other."""
    requested = {body.encoding_format, body.embedding_type} - {None}
    if len(requested) > 1:
        message = "embedding_type and encoding_format mean the same and differ: remove one of them"
        raise BadRequest(message, param="embedding_type")
    encoding = next(iter(requested), None) or "float"
    if encoding in ("float", "binary", "ubinary"):
        check_bytes(encoding, body.embed_dtype, body.endianness, instead="base64, bytes or bytes_only")
    if encoding.endswith("binary") and dimensions % 8:
        message = (
            f"embedding_type: {encoding} needs a multiple of 8 dimensions, not {dimensions}: use another size or type"
        )
        raise BadRequest(message, param="embedding_type")
    return encoding


def _data(columns: Mapping[str, Any], context: RequestContext) -> list[dict[str, Any]]:
    data = [
        {"object": "embedding", **dict(zip(columns, each, strict=True)), "index": index}
        for index, each in enumerate(zip(*columns.values(), strict=True))
    ]
    for index in context.truncated:
        data[index]["truncated"] = True
    return data


def _number(given: str | Sequence[Any]) -> int:
    """The number of texts."""
    return 1 if isinstance(given, str) or (given and isinstance(given[0], int)) else len(given)


def _items(numbers: range, dimensions: int, dtype: EmbedDtype, endianness: Endianness) -> list[Mapping[str, Any]]:
    """The position of each vector in the body, as vLLM describes it."""
    size = dimensions * item_size(dtype)
    return [
        {
            "index": index,
            "embed_dtype": dtype,
            "endianness": endianness,
            "start": index * size,
            "end": (index + 1) * size,
            "shape": [dimensions],
        }
        for index in numbers
    ]


_MOST_METADATA = 48 * 1024
"""Longest header value that common clients accept, in characters."""


def _check_metadata(items: Sequence[Mapping[str, Any]]) -> None:
    """Before anything is computed. Raises BadRequest."""
    if len(items) * len(json.dumps(items[-1:])) > _MOST_METADATA:
        message = f"encoding_format: the description of {len(items)} vectors does not fit into the header metadata"
        raise BadRequest(f"{message}: send fewer texts, or use bytes_only", param="encoding_format")


async def _model(service: Service, name: str) -> dict[str, Any]:
    spec = service.spec
    sizes = spec.sizes
    return {
        "id": name,
        "object": "model",
        "created": service.created,
        "owned_by": "embedding-runtime",
        "name": name,
        "ready": service.engine.state is State.READY,
        "backend": service.backend,
        "backend_reason": None if service.engine.model is None else service.engine.model.reason,
        "revision": spec.revision,
        "space": await asyncio.to_thread(lambda: service.space),
        "dimensions": spec.dimensions,
        "sizes": f"{sizes.start}-{sizes.stop - 1}" if isinstance(sizes, range) else list(sizes),
        "sizes_source": spec.sizes_source,
        "max_length": spec.max_length,
        "truncate": spec.truncate,
        "kind": spec.kind,
        "outputs": service.outputs,
        "pooling": spec.pooling_name,
        "normalized": spec.normalized,
        "similarity": spec.similarity,
        "prompt": spec.prompt,
        "prompts": dict(spec.prompts),
        "dtype": spec.dtype,
        "precision": {"dtype": spec.dtype, "quantization": spec.quantize, "cosine": service.engine.cosine},
        "assumed": spec.assumed,
    }
