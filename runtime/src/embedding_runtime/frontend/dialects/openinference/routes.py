"""Open Inference (KServe): V1 predict, and V2 over REST with the binary tensor extension."""

import importlib.metadata
import math
import uuid
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime import errors
from embedding_runtime.contract import Kind
from embedding_runtime.errors import BadRequest, NotReady
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.openinference import schema as bodies
from embedding_runtime.frontend.dialects.openinference.binary import HEADER
from embedding_runtime.frontend.dialects.openinference.errors import OPEN_INFERENCE
from embedding_runtime.frontend.pipeline.answers import encoded, flat, json_of, packed
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.rows import VectorRows
from embedding_runtime.scheduler.base import State, public_reason

__all__ = ["router"]

_V1 = "/v1/models/{name:path}"
_V2 = "/v2/models/{name:path}"
"""The name may end in /versions/1."""
_VERSION = "1"
"""The only version of a model."""
_LOOKS_UP = OPEN_INFERENCE.failures(errors.Unauthorized, errors.UnknownModel)
_PROBES = OPEN_INFERENCE.failures(errors.NotServing)


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = OPEN_INFERENCE.router()

    @routes.post(
        f"{_V1}:predict",
        summary="V1: vectors for texts",
        response_model=bodies.Predicted,
        responses=OPEN_INFERENCE.failures(),
    )
    async def _(name: str, body: bodies.PredictRequest, context: Context) -> Response:
        service.name_for(name)
        rows, _ = await service.vectors(context, body.instances, Options.of(service.spec), field="instances")
        return json_of({"predictions": await encoded(rows, "float")})

    @routes.get(
        "/v2",
        summary="V2: the server",
        response_model=bodies.ServerMetadata,
        responses=OPEN_INFERENCE.failures(errors.Unauthorized),
    )
    async def _() -> Response:
        version = importlib.metadata.version("embedding-runtime")
        return json_of({"name": "embedding-runtime", "version": version, "extensions": ["binary_tensor_data"]})

    @routes.get("/v2/health/live", summary="V2: server liveness", responses=_PROBES)
    async def _() -> Response:
        return _state(service, well=service.engine.state is not State.FAILED, field="live")

    @routes.get("/v2/health/ready", summary="V2: server readiness", responses=_PROBES)
    async def _() -> Response:
        return _state(service, well=service.engine.state is State.READY, field="ready")

    @routes.get(f"{_V2}/ready", summary="V2: model readiness", responses=_LOOKS_UP | _PROBES)
    async def _(name: str) -> Response:
        _name(service, name)
        return _state(service, well=service.engine.state is State.READY, field="ready")

    @routes.post(
        f"{_V2}/infer",
        summary="V2: vectors for texts, or scores for pairs",
        response_model=bodies.Inferred,
        responses=OPEN_INFERENCE.failures() | {200: {"content": {"application/octet-stream": _BINARY}}},
    )
    async def _(name: str, body: bodies.InferRequest, context: Context) -> Response:
        served = _name(service, name)
        return await infer(service, served, body, context)

    @routes.get(_V2, summary="V2: the model", response_model=bodies.ModelMetadata, responses=_LOOKS_UP)
    async def _(name: str) -> Response:
        return json_of(
            {
                "name": _name(service, name),
                "versions": [_VERSION],
                "platform": f"embedding-runtime_{service.backend}",
                "inputs": [_input(service.spec)],
                "outputs": [_output(service.spec)],
            }
        )

    return routes


_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _name(service: Service, requested: str) -> str:
    """The name without its version. Raises UnknownModel."""
    name, versions, version = requested.rpartition("/versions/")
    if versions and version == _VERSION:
        return service.name_for(name)
    return service.name_for(requested)


async def infer(service: Service, name: str, body: bodies.InferRequest, context: RequestContext) -> Response:
    """Handle /infer, with the output in JSON or as binary data after it."""
    output = dict(_output(service.spec))
    if any(wanted.name != output["name"] for wanted in body.outputs or ()):
        raise BadRequest(f"outputs: unknown output; the only output of this model is {output['name']}", param="outputs")
    rows = await _rows(service, context, body.inputs[0])
    output["shape"] = rows.shape
    answer = {"model_name": name, "model_version": _VERSION, "id": body.id or str(uuid.uuid4()), "outputs": [output]}
    if not body.wants_binary:
        output["data"] = await flat(rows)
        return json_of(answer)
    data = await packed(rows)
    output["parameters"] = {"binary_data_size": len(data)}
    head = json_of(answer).body
    return Response(bytes(head) + data, headers={HEADER: str(len(head))}, media_type="application/octet-stream")


def _state(service: Service, *, well: bool, field: str) -> Response:
    if not well:
        raise NotReady(public_reason(service.engine))
    return json_of({field: True})


def _input(spec: ModelSpec) -> Mapping[str, Any]:
    pairs = spec.kind is Kind.CROSS_ENCODER
    return {"name": "text", "datatype": "BYTES", "shape": [-1, 2] if pairs else [-1]}


def _output(spec: ModelSpec) -> Mapping[str, Any]:
    name = "score" if spec.kind is Kind.CROSS_ENCODER else "embedding"
    return {"name": name, "datatype": "FP32", "shape": [-1, spec.dimensions]}


async def _rows(service: Service, context: RequestContext, tensor: bodies.Tensor) -> VectorRows:
    """One row for each text, or for each pair of a cross-encoder."""
    texts = _texts(tensor)
    if service.spec.kind is not Kind.CROSS_ENCODER:
        rows, _ = await service.vectors(context, texts, Options.of(service.spec), field="inputs")
    elif tensor.shape[1:] != [2]:
        message = f"inputs: the shape is {tensor.shape}, but this model scores pairs of texts: use the shape [pairs, 2]"
        raise BadRequest(message, param="inputs")
    else:
        pairs = list(zip(texts[::2], texts[1::2], strict=True))
        rows, _ = await service.scores(context, pairs, operation="score", field="inputs")
    return rows


def _texts(tensor: bodies.Tensor) -> list[str]:
    """The texts. Raises BadRequest if shape and data differ."""
    texts = tensor.texts
    if math.prod(tensor.shape) != len(texts):
        message = f"inputs: the shape {tensor.shape} means {math.prod(tensor.shape)} texts, but data has {len(texts)}"
        raise BadRequest(message, param="inputs")
    return texts
