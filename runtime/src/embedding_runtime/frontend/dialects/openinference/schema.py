"""Open Inference (KServe): V1's predict and V2's infer, in JSON."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import ConfigDict, Field, model_validator

from embedding_runtime.frontend.dialects.base import EXAMPLE, Answer, Body, Many, RequestBody, Text, Vector
from embedding_runtime.frontend.dialects.other_fields import HARMLESS, IN_PREDICT

__all__ = ["InferRequest", "Inferred", "ModelMetadata", "PredictRequest", "Predicted", "ServerMetadata", "Tensor"]


class PredictRequest(RequestBody):
    """`POST /v1/models/NAME:predict`."""

    harmless = HARMLESS | {"signature_name"}  # TensorFlow Serving's; there is one signature
    instead = IN_PREDICT

    instances: Annotated[Many[Text], Field(min_length=1, description="texts", examples=[[EXAMPLE]])]


class Predicted(Answer):
    """One vector an instance, in their order."""

    predictions: list[Vector]


Item = TypeVar("Item")
_AtLeastOne = Annotated[Many[Item], Field(min_length=1)]


class _Parameters(Body):
    """The protocol itself defines none. These are what its clients send unasked; nobody's wish is swallowed."""

    model_config = ConfigDict(extra="forbid")  # for the API's document; the words are _all_known's

    @model_validator(mode="before")
    @classmethod
    def _all_known(cls, given: Any) -> Any:
        """Raises ValueError."""
        if isinstance(given, dict) and given.keys() - cls.model_fields:
            raise ValueError(f"only {' and '.join(cls.model_fields)} may be here: leave the others out")
        return given


class _TensorParameters(_Parameters):
    content_type: Annotated[Literal["str"] | None, Field(description="MLServer's word for texts")] = None


class _OutputParameters(_Parameters):
    binary_data: Annotated[bool | None, Field(description="a wish of Triton's client, which reads JSON, too")] = None


class _RequestParameters(_TensorParameters):
    binary_data_output: Annotated[bool | None, Field(description="as `binary_data`: the answer is in JSON")] = None


class Tensor(Body):
    """One input: texts, or pairs of them for a cross-encoder."""

    name: Text
    shape: Annotated[Many[Annotated[int, Field(ge=0)]], Field(examples=[[1]])]
    datatype: Annotated[Literal["BYTES"], Field(description="texts; no other type is taken")]
    data: Annotated[_AtLeastOne[Text] | _AtLeastOne[Many[Text]], Field(examples=[[EXAMPLE]])]
    parameters: _TensorParameters | None = None


class _Wanted(Body):
    name: Literal["embedding", "score"]
    parameters: _OutputParameters | None = None


class InferRequest(RequestBody):
    """`POST /v2/models/NAME/infer`."""

    harmless = HARMLESS | {"model_name", "model_version"}  # of KServe's gRPC; here they are in the path

    id: Annotated[Text | None, Field(description="comes back in the answer")] = None
    inputs: Annotated[Many[Tensor], Field(min_length=1, max_length=1, description="one tensor of texts")]
    outputs: Annotated[Many[_Wanted] | None, Field(description="there is one: embedding, or score")] = None
    parameters: _RequestParameters | None = None


class _Output(Answer):
    name: Annotated[Literal["embedding", "score"], Field(description="a cross-encoder has scores")]
    datatype: Literal["FP32"]
    shape: Annotated[list[int], Field(examples=[[1, 384]])]
    data: Annotated[Vector, Field(description="row by row")]


class Inferred(Answer):
    """The vectors, or scores."""

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
