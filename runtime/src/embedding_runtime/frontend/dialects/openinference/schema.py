"""Open Inference (KServe): V1's predict and V2's infer, in JSON and with binary tensors."""

from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, model_validator
from starlette.datastructures import Headers

from embedding_runtime.errors import BadRequest, MalformedBody
from embedding_runtime.frontend.dialects.base import EXAMPLE, Answer, Body, Form, Many, RequestBody, Text, Vector
from embedding_runtime.frontend.dialects.openinference.binary import HEADER, texts_in
from embedding_runtime.frontend.dialects.openinference.fields import IGNORED, IN_INFER, IN_PREDICT

__all__ = ["InferRequest", "Inferred", "ModelMetadata", "PredictRequest", "Predicted", "ServerMetadata", "Tensor"]


class PredictRequest(RequestBody):
    """`POST /v1/models/NAME:predict`."""

    dropped = frozenset({"instances"})
    ignored = IGNORED | {"signature_name"}  # TensorFlow Serving's; there is one signature
    refused = IN_PREDICT

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


class _InputParameters(_TensorParameters):
    binary_data_size: Annotated[
        int | None, Field(ge=0, description="bytes of the tensor's data after the JSON, instead of `data`")
    ] = None


class _OutputParameters(_Parameters):
    binary_data: Annotated[bool | None, Field(description="the output's data after the JSON; default: false")] = None


class _RequestParameters(_TensorParameters):
    binary_data_output: Annotated[bool | None, Field(description="`binary_data` of all outputs")] = None


class Tensor(Body):
    """One input: texts, or pairs of them for a cross-encoder."""

    name: Text
    shape: Annotated[Many[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=8, examples=[[1]])]
    datatype: Annotated[Literal["BYTES"], Field(description="texts; no other type is taken")]
    data: Annotated[
        Annotated[_AtLeastOne[Text] | _AtLeastOne[Many[Text]], Form("a list of strings, of whole Unicode characters")]
        | None,
        Field(examples=[[EXAMPLE]]),
    ] = None
    parameters: _InputParameters | None = None


class _Wanted(Body):
    name: Literal["embedding", "score"]
    parameters: _OutputParameters | None = None


class InferRequest(RequestBody):
    """`POST /v2/models/NAME/infer`.

    With the header Inference-Header-Content-Length that many bytes are JSON; the input's data may follow them: for each
    text its length in bytes (little-endian, four bytes) and then its UTF-8.
    """

    refused = IN_INFER
    ignored = IGNORED | {"model_name", "model_version"}  # of KServe's gRPC; here they are in the path

    id: Annotated[Text | None, Field(description="comes back in the answer")] = None
    inputs: Annotated[Many[Tensor], Field(min_length=1, max_length=1, description="one tensor of texts")]
    outputs: Annotated[Many[_Wanted] | None, Field(description="there is one: embedding, or score")] = None
    parameters: _RequestParameters | None = None

    @classmethod
    def split(cls, content: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """Where the header says. Raises MalformedBody."""
        length = headers.get(HEADER)
        if length is None:
            return super().split(content, headers)
        if not (length.isascii() and length.isdigit() and len(length) <= _DIGITS and int(length) <= len(content)):
            raise MalformedBody(f"{HEADER}: it has to be the number of the body's first bytes that are JSON")
        return content[: int(length)], content[int(length) :]

    def attach(self, rest: bytes) -> Self:
        """The request with its texts. Raises BadRequest."""
        tensor = self.inputs[0]
        size = None if tensor.parameters is None else tensor.parameters.binary_data_size
        if (tensor.data is None) == (size is None):
            raise BadRequest("inputs: give either data, or binary_data_size in its parameters", param="inputs")
        if (size or 0) != len(rest):
            message = f"inputs: binary_data_size is {size or 0}, and {len(rest)} bytes follow the JSON"
            raise BadRequest(f"{message}; {HEADER} says where it ends", param="inputs")
        if size is not None:
            tensor.data = texts_in(rest)
        return self

    @property
    def wants_binary(self) -> bool:
        """Whether the output's data are to follow the JSON of the answer."""
        for wanted in self.outputs or ():
            if wanted.parameters is not None and wanted.parameters.binary_data is not None:
                return wanted.parameters.binary_data
        return self.parameters is not None and self.parameters.binary_data_output is True


_DIGITS = 12
"""Of a length: no body is longer."""


class _OutputSize(Answer):
    binary_data_size: int


class _Output(Answer):
    name: Annotated[Literal["embedding", "score"], Field(description="a cross-encoder has scores")]
    datatype: Literal["FP32"]
    shape: Annotated[list[int], Field(examples=[[1, 384]])]
    data: Annotated[Vector | None, Field(description="row by row")] = None
    parameters: Annotated[_OutputSize | None, Field(description="where the data follow the JSON")] = None


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
    versions: Annotated[list[str], Field(examples=[["1"]])]
    platform: str
    inputs: list[_TensorMetadata]
    outputs: list[_TensorMetadata]


class ServerMetadata(Answer):
    """`GET /v2`."""

    name: str
    version: str
    extensions: list[str]
