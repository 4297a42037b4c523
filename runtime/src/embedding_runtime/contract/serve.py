"""The flags of `python -m embedding_runtime serve`: each one once, typed. Names are KServe's where it has them."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from embedding_runtime.contract.flags import FlagModel
from embedding_runtime.contract.initializer import MODEL_DIR
from embedding_runtime.contract.terms import (
    DRAIN_FILE,
    TASKS,
    BackendName,
    Dtype,
    LogFormat,
    Quantization,
    Task,
    Truncate,
)

__all__ = ["CANNOT_MOVE_VECTORS", "ServeArgs"]

AUTO: Literal["auto"] = "auto"

MAX_PROCESSES = 64


def _count(given: object) -> object:
    text = str(given)
    if text != AUTO and not (text.isdecimal() and 1 <= int(text) <= MAX_PROCESSES):
        raise ValueError(f"must be auto or a whole number from 1 to {MAX_PROCESSES}")
    return given if text == AUTO else int(text)


Count = Annotated[int | Literal["auto"], BeforeValidator(_count)]
"""A number of processes; auto derives it from the cores and GPUs that the server may use."""

ANY: Literal["any"] = "any"


def _sizes(given: object) -> object:
    """Parse `any`, or whole numbers separated by commas, with or without the brackets of JSON. Raises ValueError."""
    if not isinstance(given, str) or given == ANY:
        return given
    sizes = [size.strip() for size in given.removeprefix("[").removesuffix("]").split(",")]
    if not all(size.isdecimal() and len(size) <= _DIGITS and int(size) for size in sizes):
        raise ValueError("must be any, or positive whole numbers separated by commas, such as 256,512")
    return tuple(sorted(set(map(int, sizes))))


_DIGITS = 9

Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...] | Literal["any"], BeforeValidator(_sizes)]
"""Sizes of vectors in ascending order; any: all sizes from 1."""

_MEASURE = (BackendName.AUTO, BackendName.HUGGINGFACE)
"""Backends that support --quantize and --minimum_cosine, with which auto selects huggingface."""

_DAY = 24 * 60 * 60
_LONGEST_NAME = 253

CANNOT_MOVE_VECTORS = frozenset(
    {
        "access_log",
        "allow_credentials",
        "allow_padded",
        "allowed_headers",
        "allowed_methods",
        "allowed_origins",
        "api_keys_file",
        "drain_file",
        "frontends",
        "grace_period",
        "host",
        "http_port",
        "log_format",
        "matryoshka",
        "max_body_bytes",
        "max_connections",
        "max_header_bytes",
        "max_header_fields",
        "max_inputs",
        "max_request_timeout",
        "max_request_tokens",
        "max_unsent_bytes",
        "max_url_bytes",
        "max_waiting_tokens",
        "minimum_cosine",
        "model_aliases",
        "model_dir",
        "model_name",
        "read_timeout",
        "request_timeout",
        "stuck_after",
        "workers",
        "write_timeout",
    }
)
"""Flags that do not affect vectors. A change of any other flag creates a new revision of the service, so a flag that is
missing here costs an unnecessary rollout, but never mixes incompatible vectors. `truncate` is not in the list: with
start instead of end, long texts have different vectors."""


class ServeArgs(FlagModel):
    """The configuration of the server."""

    written_always = frozenset({"model_dir", "host", "http_port"})
    further_values: ClassVar[Mapping[str, str]] = {"model_aliases": "model_name"}

    model_dir: Annotated[PurePosixPath, Field(description="directory of the model's files")] = MODEL_DIR
    model_name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=_LONGEST_NAME,
            description="name of the model in requests; repeat the flag to add aliases",
        ),
    ]
    model_aliases: tuple[Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)], ...] = ()
    """Values of --model_name after the first; not a flag."""
    backend: Annotated[
        BackendName,
        Field(
            description="library that computes the vectors; auto: vllm if it serves the model exactly, else huggingface"
        ),
    ] = BackendName.AUTO
    task: Annotated[
        Task | None,
        Field(
            description="vllm: embed, or score for a cross-encoder; huggingface: text_embedding, or text_ranking for a "
            "cross-encoder; auto: any of them; default: from the model's files"
        ),
    ] = None
    dtype: Annotated[Dtype, Field(description="type of the weights; auto: from the model's files")] = Dtype.AUTO
    quantize: Annotated[
        Quantization,
        Field(
            description="int8: quantize linear layers to 8 bits; for --backend=huggingface and models of the BERT "
            "family on CPUs with VNNI. Vectors change slightly: see --minimum_cosine"
        ),
    ] = Quantization.NONE
    minimum_cosine: Annotated[
        float,
        Field(
            ge=-1,
            le=1,
            allow_inf_nan=False,
            description="lowest acceptable cosine similarity to float32 with --dtype or --quantize; measured at "
            "startup on CPUs",
        ),
    ] = 0.999
    max_length: Annotated[
        int | None, Field(ge=1, description="longest input in tokens; default and upper bound: from the model's files")
    ] = None
    matryoshka: Annotated[
        Sizes,
        Field(
            description="sizes to which a request may truncate vectors, such as 256,512; any: all sizes; default: "
            "those in config.json, or in the model card of a known model"
        ),
    ] = ()
    truncate: Annotated[
        Truncate,
        Field(
            description="end at which inputs that are too long are truncated, unless the request overrides it; off: "
            "they are rejected. For cross-encoders off or end, which truncates as CrossEncoder does"
        ),
    ] = Truncate.OFF
    host: Annotated[
        str, Field(min_length=1, description="address to listen on; 0.0.0.0 or ::: all addresses, IPv4 and IPv6")
    ] = "0.0.0.0"  # noqa: S104 a pod's own
    http_port: Annotated[int, Field(ge=1, le=65535, description="port to listen on")] = 8080
    api_keys_file: Annotated[
        PurePosixPath | None,
        Field(description="file of API keys, one NAME KEY [TOKENS_PER_MINUTE] per line; default: no key is required"),
    ] = None
    allowed_origins: Annotated[
        tuple[str, ...],
        Field(
            description="CORS: origins (https://host) that may send requests, or *; separated by commas, or a JSON list"
        ),
    ] = ()
    allowed_methods: Annotated[tuple[str, ...], Field(description="CORS: methods that these origins may use")] = ("*",)
    allowed_headers: Annotated[tuple[str, ...], Field(description="CORS: headers that these origins may send")] = ("*",)
    allow_credentials: Annotated[
        bool, Field(description="CORS: whether these origins may send credentials, such as cookies")
    ] = False
    drain_file: Annotated[
        PurePosixPath,
        Field(description="while this file exists and is not empty, close each connection with its next response"),
    ] = DRAIN_FILE
    log_format: Annotated[LogFormat, Field(description="text, or json: one object per line")] = LogFormat.TEXT
    access_log: Annotated[bool, Field(description="log one line per request, except for probes and scrapes")] = False
    max_inputs: Annotated[int, Field(ge=1, description="maximum number of texts in one request")] = 2048
    max_request_tokens: Annotated[int, Field(ge=1, description="maximum number of tokens in one request")] = 300_000
    max_body_bytes: Annotated[int, Field(ge=1, description="maximum size of a request's body, in bytes")] = 2**22
    max_header_bytes: Annotated[int, Field(ge=1024, description="maximum size of a request's headers, in bytes")] = (
        2**16
    )
    max_header_fields: Annotated[int, Field(ge=10, description="maximum number of header fields in one request")] = 100
    max_url_bytes: Annotated[int, Field(ge=128, description="maximum length of a request's URL, in bytes")] = 2**13
    max_connections: Annotated[
        int,
        Field(ge=1, description="maximum number of open connections; one more closes the longest idle one"),
    ] = 4096
    max_unsent_bytes: Annotated[
        int,
        Field(
            ge=1,
            description="maximum memory for responses that are being written or not yet read, in bytes; requests "
            "with large responses wait for it",
        ),
    ] = 2**25
    read_timeout: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds to receive a request's headers; its body may take as long plus 1 s per 64 KiB",
        ),
    ] = 20.0
    write_timeout: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds in which a client must read 64 KiB of its response, or half of a smaller rest",
        ),
    ] = 10.0
    max_waiting_tokens: Annotated[
        int, Field(ge=1, description="maximum number of queued tokens; further requests are answered 429")
    ] = 1_000_000
    request_timeout: Annotated[
        float,
        Field(
            gt=0,
            le=_DAY,
            allow_inf_nan=False,
            description="timeout of a request without the header X-Request-Timeout, in seconds",
        ),
    ] = 300.0
    max_request_timeout: Annotated[
        float,
        Field(gt=0, le=_DAY, allow_inf_nan=False, description="maximum value of X-Request-Timeout, in seconds"),
    ] = 600.0
    grace_period: Annotated[
        float,
        Field(
            ge=0,
            le=3600,
            allow_inf_nan=False,
            description="seconds to finish running and queued requests after SIGTERM",
        ),
    ] = 25.0
    stuck_after: Annotated[
        float,
        Field(
            gt=0,
            le=_DAY,
            allow_inf_nan=False,
            description="seconds, in addition to 20 times its usual duration, after which a batch counts as stuck and "
            "its worker is killed",
        ),
    ] = 120.0
    allow_padded: Annotated[
        bool,
        Field(
            description="if torch cannot run attention over packed batches, use padded batches, which are slower, "
            "instead of refusing to start"
        ),
    ] = False
    frontends: Annotated[
        Count,
        Field(description="number of processes for HTTP and tokenization; auto: enough to keep the workers busy"),
    ] = AUTO
    workers: Annotated[
        Count,
        Field(description="number of processes that compute; auto: one for every two cores, or one for each GPU"),
    ] = AUTO
    allow_pickle: Annotated[
        bool,
        Field(
            description="load weights from pickles (pytorch_model.bin; sparse_linear.pt and colbert_linear.pt of "
            "BGE-M3), which can execute code"
        ),
    ] = False
    trust_remote_code: Annotated[
        bool,
        Field(
            description="run Python code that comes with the model (auto_map, and modules of its own), with all rights "
            "of the server"
        ),
    ] = False

    @field_validator("model_name", "model_aliases")
    @classmethod
    def _name_is_printable(cls, name: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not "".join(name).isprintable():
            raise ValueError("must contain printable characters only")
        return name

    @field_validator("model_aliases")
    @classmethod
    def _drop_duplicate_names(cls, aliases: tuple[str, ...], given: ValidationInfo) -> tuple[str, ...]:
        return tuple(dict.fromkeys(alias for alias in aliases if alias != given.data.get("model_name")))

    @field_validator("allowed_origins", "allowed_methods", "allowed_headers", mode="before")
    @classmethod
    def _parse_list(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        if given.startswith("["):
            return tuple(json.loads(given))
        return tuple(item.strip() for item in given.split(",") if item.strip())

    @model_validator(mode="after")
    def _credentials_need_named_origins(self) -> Self:
        if self.allow_credentials and "*" in self.allowed_origins:
            raise ValueError("--allow_credentials is not allowed with --allowed_origins=*: list the origins")
        return self

    @field_validator("task")
    @classmethod
    def _task_matches_backend(cls, task: Task | None, given: ValidationInfo) -> Task | None:
        backend = given.data.get("backend")  # absent if it is invalid itself
        if backend is None or task is None or any(task in tasks.values() for tasks in TASKS[backend]):
            return task
        kind = next(kind for tasks in TASKS[BackendName.AUTO] for kind, name in tasks.items() if name == task)
        raise ValueError(f"not a task of --backend={backend}: use --task={TASKS[backend][0][kind]}")

    @model_validator(mode="after")
    def _quantization_is_possible(self) -> Self:
        if self.quantize is Quantization.NONE:
            return self
        if self.backend not in _MEASURE:
            raise ValueError(
                f"--quantize={self.quantize} is not supported with --backend={self.backend}: "
                "use --backend=huggingface, or remove --backend or --quantize"
            )
        if self.dtype not in (Dtype.AUTO, Dtype.FLOAT32):
            raise ValueError(
                f"--quantize={self.quantize} and --dtype={self.dtype} exclude each other, since the layers that are "
                "not quantized compute in float32: remove one of them"
            )
        return self

    @model_validator(mode="after")
    def _cosine_is_measured(self) -> Self:
        if "minimum_cosine" in self.model_fields_set and self.backend not in _MEASURE:
            raise ValueError(
                f"--minimum_cosine={self.minimum_cosine:g} is not measured with --backend={self.backend}: "
                "use --backend=huggingface, or remove --backend or --minimum_cosine"
            )
        return self

    @model_validator(mode="after")
    def _default_timeout_is_within_maximum(self) -> Self:
        if self.request_timeout > self.max_request_timeout:
            raise ValueError(
                f"--request_timeout={self.request_timeout:g} is more than "
                f"--max_request_timeout={self.max_request_timeout:g}: lower the former, or raise the latter"
            )
        return self
