"""Open Inference (KServe): V1's predict and V2's infer, in JSON."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field

from embedding_runtime.schemas.base import EXAMPLE, Answer, Body, Many, Text, Vector

__all__ = ["InferRequest", "Inferred", "ModelMetadata", "PredictRequest", "Predicted", "ServerMetadata", "Tensor"]


class PredictRequest(Body):
    """`POST /v1/models/NAME:predict`."""

    instances: Annotated[Many[Text], Field(min_length=1, description="texts", examples=[[EXAMPLE]])]


class Predicted(Answer):
    """One vector an instance, in their order."""

    predictions: list[Vector]


Item = TypeVar("Item")
_AtLeastOne = Annotated[Many[Item], Field(min_length=1)]


def _no_binary(parameters: dict[str, Any]) -> dict[str, Any]:
    """Raises ValueError."""
    if "binary_data_size" in parameters:
        raise ValueError("binary tensors are not taken; send BYTES in JSON, in data")
    return parameters


class Tensor(Body):
    """One input: texts."""

    name: Text
    shape: Annotated[Many[Annotated[int, Field(ge=0)]], Field(examples=[[1]])]
    datatype: Annotated[Literal["BYTES"], Field(description="texts; no other type is taken")]
    data: Annotated[_AtLeastOne[Text] | _AtLeastOne[Many[Text]], Field(examples=[[EXAMPLE]])]
    parameters: Annotated[dict[str, Any], AfterValidator(_no_binary)] | None = None


class _Wanted(Body):
    name: Literal["embedding"]
    parameters: dict[str, Any] | None = None


class InferRequest(Body):
    """`POST /v2/models/NAME/infer`."""

    id: Annotated[Text | None, Field(description="comes back in the answer")] = None
    inputs: Annotated[Many[Tensor], Field(min_length=1, max_length=1, description="one tensor of texts")]
    outputs: Annotated[Many[_Wanted] | None, Field(description="there is one, embedding")] = None
    parameters: dict[str, Any] | None = None


class _Output(Answer):
    name: Literal["embedding"]
    datatype: Literal["FP32"]
    shape: Annotated[list[int], Field(examples=[[1, 384]])]
    data: Annotated[Vector, Field(description="row by row")]


class Inferred(Answer):
    """The vectors."""

    model_name: str
    id: str
    outputs: list[_Output]


class _TensorMetadata(Answer):
    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Answer):
    """`GET /v2/models/NAME`."""

    name: str
    platform: str
    inputs: list[_TensorMetadata]
    outputs: list[_TensorMetadata]


class ServerMetadata(Answer):
    """`GET /v2`."""

    name: str
    version: str
    extensions: list[str]
