"""Open Inference (KServe): V1's predict, V2's REST. JSON only."""

import importlib.metadata
import math
import uuid

from fastapi import APIRouter, Request, Response

from embedding_runtime.api.answers import encoded, flat, json_of
from embedding_runtime.api.options import Options
from embedding_runtime.api.service import Service
from embedding_runtime.engine import State
from embedding_runtime.errors import BadRequest, NotReady
from embedding_runtime.schemas.errors import InferenceError, failures
from embedding_runtime.schemas.openinference import (
    Inferred,
    InferRequest,
    ModelMetadata,
    Predicted,
    PredictRequest,
    ServerMetadata,
    Tensor,
)

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["Open Inference"])

    @routes.post(
        "/v1/models/{name:path}:predict",
        summary="V1: vectors for texts",
        response_model=Predicted,
        responses=failures(InferenceError),
    )
    async def predict(name: str, body: PredictRequest, request: Request) -> Response:
        service.check_model(name)
        rows, _ = await service.vectors(request, body.instances, Options.of(service.spec), field="instances")
        return json_of({"predictions": await encoded(rows, "float")})

    @routes.get("/v2", summary="V2: the server", response_model=ServerMetadata, responses=failures(InferenceError, 401))
    async def server() -> Response:
        version = importlib.metadata.version("embedding-runtime")
        return json_of({"name": "embedding-runtime", "version": version, "extensions": []})

    @routes.get("/v2/health/live", summary="V2: alive", responses=failures(InferenceError, 503))
    async def live() -> Response:
        return _state(service, well=service.engine.state is not State.FAILED, field="live")

    @routes.get("/v2/health/ready", summary="V2: ready", responses=failures(InferenceError, 503))
    async def ready() -> Response:
        return _state(service, well=service.engine.state is State.READY, field="ready")

    @routes.get(
        "/v2/models/{name:path}/ready",
        summary="V2: the model is ready",
        responses=failures(InferenceError, 401, 404, 503),
    )
    async def model_ready(name: str) -> Response:
        service.check_model(name)
        return _state(service, well=service.engine.state is State.READY, field="ready")

    @routes.post(
        "/v2/models/{name:path}/infer",
        summary="V2: vectors for texts",
        response_model=Inferred,
        responses=failures(InferenceError),
    )
    async def infer(name: str, body: InferRequest, request: Request) -> Response:
        service.check_model(name)
        (tensor,) = body.inputs
        rows, _ = await service.vectors(request, _texts(tensor), Options.of(service.spec), field="inputs")
        output = {"name": "embedding", "datatype": "FP32", "shape": rows.shape, "data": await flat(rows)}
        return json_of({"model_name": service.name, "id": body.id or str(uuid.uuid4()), "outputs": [output]})

    @routes.get(
        "/v2/models/{name:path}",
        summary="V2: the model",
        response_model=ModelMetadata,
        responses=failures(InferenceError, 401, 404),
    )
    async def model(name: str) -> Response:
        service.check_model(name)
        return json_of(
            {
                "name": service.name,
                "platform": f"embedding-runtime_{service.backend}",
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                "outputs": [{"name": "embedding", "datatype": "FP32", "shape": [-1, service.spec.dimensions]}],
            }
        )

    return routes


def _state(service: Service, *, well: bool, field: str) -> Response:
    if not well:
        raise NotReady(service.engine.reason)
    return json_of({field: True})


def _texts(tensor: Tensor) -> list[str]:
    """Raises BadRequest where shape and data differ."""
    texts = [text for row in tensor.data for text in ([row] if isinstance(row, str) else row)]
    if math.prod(tensor.shape) != len(texts):
        message = (
            f"inputs: the shape {tensor.shape} has room for {math.prod(tensor.shape)} texts, data has {len(texts)}"
        )
        raise BadRequest(message, param="inputs")
    return texts
