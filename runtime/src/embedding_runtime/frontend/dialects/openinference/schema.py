"""Schemas of Open Inference (KServe): V1 predict and V2 infer, in JSON and with binary tensors."""

import itertools
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field
from starlette.datastructures import Headers

from embedding_runtime.errors import BadRequest, MalformedBody
from embedding_runtime.frontend.dialects.base import EXAMPLE, Answer, Form, Many, Part, RequestBody, Text, Vector
from embedding_runtime.frontend.dialects.openinference.binary import HEADER, texts_in
from embedding_runtime.frontend.dialects.openinference.fields import IGNORED, IN_INFER, IN_PREDICT

__all__ = ["InferRequest", "Inferred", "ModelMetadata", "PredictRequest", "Predicted", "ServerMetadata", "Tensor"]


class PredictRequest(RequestBody):
    """`POST /v1/models/NAME:predict`."""

    dropped = frozenset({"instances"})
    ignored = IGNORED | {"signature_name"}  # from TensorFlow Serving; there is only one signature
    refused = IN_PREDICT

    instances: Annotated[Many[Text], Field(min_length=1, description="texts to embed", examples=[[EXAMPLE]])]


class Predicted(Answer):
    """One vector for each instance, in their order."""

    predictions: list[Vector]


Item = TypeVar("Item")
_AtLeastOne = Annotated[Many[Item], Field(min_length=1)]


class _TensorParameters(Part):
    content_type: Annotated[Literal["str"] | None, Field(description="from MLServer: the tensor holds texts")] = None


class _InputParameters(_TensorParameters):
    binary_data_size: Annotated[
        int | None, Field(ge=0, description="size of the tensor's data after the JSON, in bytes; replaces `data`")
    ] = None


class _OutputParameters(Part):
    binary_data: Annotated[
        bool | None, Field(description="return the output's data after the JSON; default: false")
    ] = None


class _RequestParameters(_TensorParameters):
    binary_data_output: Annotated[bool | None, Field(description="default of `binary_data` for all outputs")] = None


class Tensor(Part):
    """An input tensor: texts, or pairs of texts for a cross-encoder."""

    name: Text
    shape: Annotated[Many[Annotated[int, Field(ge=0, lt=2**31)]], Field(max_length=8, examples=[[1]])]
    datatype: Annotated[Literal["BYTES"], Field(description="the type of texts; no other is supported")]
    data: Annotated[
        Annotated[_AtLeastOne[Text] | _AtLeastOne[Many[Text]], Form("a list of strings, in valid Unicode")] | None,
        Field(examples=[[EXAMPLE]]),
    ] = None
    parameters: _InputParameters | None = None

    @property
    def texts(self) -> list[str]:
        """The texts of all rows."""
        rows: list[Any] = self.data or []
        # Without a copy, because binary data may have a million texts.
        return rows if isinstance(next(iter(rows), ""), str) else list(itertools.chain.from_iterable(rows))


class _Wanted(Part):
    name: Literal["embedding", "score"]
    parameters: _OutputParameters | None = None


class InferRequest(RequestBody):
    """`POST /v2/models/NAME/infer`.

    The header Inference-Header-Content-Length is the size of the JSON in bytes. The input's data may follow it: for
    each text its length in bytes (four bytes, little-endian), then the text in UTF-8.
    """

    refused = IN_INFER
    ignored = IGNORED | {"model_name", "model_version"}  # from KServe's gRPC API; over HTTP they are in the path

    id: Annotated[Text | None, Field(description="returned in the response")] = None
    inputs: Annotated[Many[Tensor], Field(min_length=1, max_length=1, description="one tensor of texts")]
    outputs: Annotated[
        Many[_Wanted] | None, Field(description="the requested output: embedding, or score of a cross-encoder")
    ] = None
    parameters: Annotated[_RequestParameters | None, Field(description="content_type, binary_data_output")] = None

    @classmethod
    def split(cls, content: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """Split where the header says. Raises MalformedBody."""
        length = headers.get(HEADER)
        if length is None:
            return super().split(content, headers)
        if not (length.isascii() and length.isdigit() and len(length) <= _DIGITS and int(length) <= len(content)):
            raise MalformedBody(f"{HEADER} must be the size of the JSON at the start of the body, in bytes")
        return content[: int(length)], content[int(length) :]

    def attach(self, rest: bytes) -> Self:
        """Return the request with the texts that followed the JSON. Raises BadRequest."""
        tensor = self.inputs[0]
        size = None if tensor.parameters is None else tensor.parameters.binary_data_size
        if (tensor.data is None) == (size is None):
            raise BadRequest("inputs: exactly one of data and parameters.binary_data_size is required", param="inputs")
        if (size or 0) != len(rest):
            message = f"inputs: binary_data_size is {size or 0}, but {len(rest)} bytes follow the JSON"
            raise BadRequest(f"{message}; {HEADER} must be the size of the JSON", param="inputs")
        if size is not None:
            tensor.data = texts_in(rest)
        return self

    @property
    def wants_binary(self) -> bool:
        """Whether the client wants the output's data after the JSON."""
        for wanted in self.outputs or ():
            if wanted.parameters is not None and wanted.parameters.binary_data is not None:
                return wanted.parameters.binary_data
        return self.parameters is not None and self.parameters.binary_data_output is True


_DIGITS = 12
"""Longest accepted value of the header, in digits."""


class _OutputSize(Answer):
    binary_data_size: int


class _Output(Answer):
    name: Annotated[Literal["embedding", "score"], Field(description="score from a cross-encoder, else embedding")]
    datatype: Literal["FP32"]
    shape: Annotated[list[int], Field(examples=[[1, 384]])]
    data: Annotated[Vector | None, Field(description="the rows, flattened")] = None
    parameters: Annotated[_OutputSize | None, Field(description="present if the data follow the JSON")] = None


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
