"""`/embeddings` and `/models` as OpenAI's clients know them."""

import asyncio
import base64
import time
import uuid
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response

from embedding_runtime.api.service import Service
from embedding_runtime.errors import BadRequest
from embedding_runtime.schemas import EmbeddingsRequest
from embedding_runtime.wire import VectorRows

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """The routes, to be put under a prefix."""
    routes = APIRouter(tags=["OpenAI"])

    @routes.post("/embeddings", summary="Vectors for texts")
    async def embeddings(body: EmbeddingsRequest, request: Request) -> Response:
        service.check_model(body.model)
        if body.dimensions not in (None, service.spec.dimensions):
            raise BadRequest(
                f"this model's vectors have {service.spec.dimensions} dimensions, and cannot be cut", param="dimensions"
            )
        texts = await service.tokenize(body.input)
        rows = await service.embed(request, texts)
        tokens = sum(map(len, texts))
        return _json(
            {
                "id": f"embd-{uuid.uuid4()}",
                "object": "list",
                "created": int(time.time()),
                "data": [
                    {"object": "embedding", "embedding": vector, "index": index}
                    for index, vector in enumerate(await _encoded(rows, body.encoding_format))
                ],
                "model": service.name,
                "usage": {
                    "prompt_tokens": tokens,
                    "total_tokens": tokens,
                    "completion_tokens": 0,
                    "prompt_tokens_details": None,
                },
            }
        )

    @routes.get("/models", summary="The served model")
    async def models() -> Response:
        spec = service.spec
        model = {
            "id": service.name,
            "object": "model",
            "created": service.created,
            "owned_by": "embedding-runtime",
            "backend": service.backend,
            "dimensions": spec.dimensions,
            "max_length": spec.max_length,
            "pooling": "+".join(spec.pooling),
            "normalized": spec.normalized,
            "similarity": spec.similarity,
            "prompt": spec.prompt,
            "dtype": spec.dtype,
            "assumed": spec.assumed,
        }
        return _json({"object": "list", "data": [model]})

    return routes


def _json(content: Any) -> Response:
    return Response(orjson.dumps(content), media_type="application/json")


_LARGE = 2**18
"""Numbers in an answer that is written beside the loop: above this they take more than ten milliseconds."""


async def _encoded(rows: VectorRows, encoding: str | None) -> list[Any]:
    """Something for each row that orjson takes: one call a row, as no call of orjson lets another thread run."""
    encode = _base64 if encoding == "base64" else _numbers
    return await asyncio.to_thread(encode, rows) if rows.size > _LARGE else encode(rows)


def _base64(rows: VectorRows) -> list[Any]:
    return [base64.b64encode(row).decode() for row in rows.astype("<f4", copy=False)]


def _numbers(rows: VectorRows) -> list[Any]:
    return [orjson.Fragment(orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)) for row in rows]
