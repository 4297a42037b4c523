"""`/embeddings` and `/models` as OpenAI's clients know them."""

import asyncio
import time
import uuid
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime.frontend.dialects.bodies import BodyRoute, Context
from embedding_runtime.frontend.dialects.errors import OpenAIError, failures
from embedding_runtime.frontend.dialects.openai.schema import Embeddings, EmbeddingsRequest, Model, Models
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """The routes, to be put under a prefix."""
    routes = APIRouter(route_class=BodyRoute, tags=["OpenAI"])

    @routes.post("/embeddings", summary="Vectors for texts", response_model=Embeddings, responses=failures(OpenAIError))
    async def embeddings(body: EmbeddingsRequest, context: Context) -> Response:
        service.check_model(body.model)
        options = Options.of(
            service.spec,
            dimensions=body.dimensions,
            truncate=body.truncate,
            sides=(body.truncation_direction, body.truncation_side),
            keep_tokens=body.truncate_prompt_tokens,
            normalize=body.normalize,
            prompt_name=body.prompt_name,
            input_type=body.input_type,
        )
        rows, tokens = await service.vectors(context, body.input, options)
        each = await encoded(rows, body.encoding_format or "float")
        return json_of(
            {
                "id": f"embd-{uuid.uuid4()}",
                "object": "list",
                "created": int(time.time()),
                "data": [
                    {"object": "embedding", "embedding": vector, "index": index} for index, vector in enumerate(each)
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

    @routes.get("/models", summary="The served model", response_model=Models, responses=failures(OpenAIError, 401))
    async def models() -> Response:
        return json_of({"object": "list", "data": [await _model(service)]})

    @routes.get(
        "/models/{name:path}",
        summary="The model of that name",
        response_model=Model,
        responses=failures(OpenAIError, 401, 404),
    )
    async def model(name: str) -> Response:
        service.check_model(name)
        return json_of(await _model(service))

    return routes


async def _model(service: Service) -> dict[str, Any]:
    spec = service.spec
    sizes = spec.sizes
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "embedding-runtime",
        "backend": service.backend,
        "revision": spec.revision,
        "space": await asyncio.to_thread(lambda: service.space),
        "dimensions": spec.dimensions,
        "sizes": f"{sizes.start}-{sizes.stop - 1}" if isinstance(sizes, range) else list(sizes),
        "max_length": spec.max_length,
        "kind": spec.kind,
        "pooling": "+".join(spec.pooling),
        "normalized": spec.normalized,
        "similarity": spec.similarity,
        "prompt": spec.prompt,
        "prompts": dict(spec.prompts),
        "dtype": spec.dtype,
        "precision": {"dtype": spec.dtype, "quantization": spec.quantize, "cosine": service.engine.cosine},
        "assumed": spec.assumed,
    }
