"""The flags of `python -m embedding_runtime serve`: each one once, typed. Names are KServe's where it has them."""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from embedding_runtime.contract.flags import FlagModel
from embedding_runtime.contract.initializer import MODEL_DIR
from embedding_runtime.contract.terms import DRAIN_FILE, TASKS, BackendName, Dtype, LogFormat, Quantization, Task

__all__ = ["CANNOT_MOVE_VECTORS", "ServeArgs"]

AUTO: Literal["auto"] = "auto"

MAX_PROCESSES = 64


def _count(given: object) -> object:
    text = str(given)
    if text != AUTO and not (text.isdecimal() and 1 <= int(text) <= MAX_PROCESSES):
        raise ValueError(f"write auto, or a whole number from 1 to {MAX_PROCESSES}")
    return given if text == AUTO else int(text)


Count = Annotated[int | Literal["auto"], BeforeValidator(_count)]
"""Of processes; auto: as the cores and GPUs that the server may use suggest."""

_MEASURE = (BackendName.AUTO, BackendName.HUGGINGFACE)
"""Backends that quantize, and measure what that costs; auto is huggingface where one of the two is asked for."""

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
"""Flags that a running server may change without its vectors becoming others. Every other flag makes a new revision of
a service: one that is forgotten here costs a rollout, and never mixes vectors."""


class ServeArgs(FlagModel):
    """The server's whole configuration."""

    written_always = frozenset({"model_dir", "host", "http_port"})
    further_values: ClassVar[Mapping[str, str]] = {"model_aliases": "model_name"}

    model_dir: Annotated[PurePosixPath, Field(description="directory with the model's files")] = MODEL_DIR
    model_name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=_LONGEST_NAME,
            description="the name that requests call the model by; given again, an alias of it",
        ),
    ]
    model_aliases: tuple[Annotated[str, Field(min_length=1, max_length=_LONGEST_NAME)], ...] = ()
    """Further values of --model_name; no flag of its own."""
    backend: Annotated[
        BackendName,
        Field(description="what computes the vectors; auto: vllm where it serves the model exactly, else huggingface"),
    ] = BackendName.AUTO
    task: Annotated[
        Task | None,
        Field(
            description="vllm: embed, or score for a cross-encoder; huggingface: text_embedding, text_ranking; auto: "
            "either. Default: what the model's files say"
        ),
    ] = None
    dtype: Annotated[Dtype, Field(description="type of the weights; auto: as the model's files say")] = Dtype.AUTO
    quantize: Annotated[
        Quantization,
        Field(
            description="int8: multiply in 8 bits, on CPUs with VNNI; huggingface, BERT and its kin. Moves vectors a "
            "little: see --minimum_cosine"
        ),
    ] = Quantization.NONE
    minimum_cosine: Annotated[
        float,
        Field(
            ge=-1,
            le=1,
            allow_inf_nan=False,
            description="lowest cosine to float32 that --dtype and --quantize may cost, measured at start on a CPU",
        ),
    ] = 0.999
    max_length: Annotated[
        int | None, Field(ge=1, description="longest input in tokens. Default, and limit: what the model's files say")
    ] = None
    host: Annotated[
        str, Field(min_length=1, description="address to listen on; 0.0.0.0 and :: are every one, of IPv4 and IPv6")
    ] = "0.0.0.0"  # noqa: S104 a pod's own
    http_port: Annotated[int, Field(ge=1, le=65535, description="port to listen on")] = 8080
    api_keys_file: Annotated[
        PurePosixPath | None,
        Field(description="who may ask: a line a key, NAME KEY [TOKENS_PER_MINUTE]. Default: everybody"),
    ] = None
    allowed_origins: Annotated[
        tuple[str, ...],
        Field(description="web pages (https://host) whose scripts may ask, or * (CORS); a comma between them, or JSON"),
    ] = ()
    allowed_methods: Annotated[tuple[str, ...], Field(description="methods that such scripts may use")] = ("*",)
    allowed_headers: Annotated[tuple[str, ...], Field(description="headers that such scripts may send")] = ("*",)
    allow_credentials: Annotated[bool, Field(description="such scripts may send cookies and the like")] = False
    drain_file: Annotated[
        PurePosixPath,
        Field(description="when this file is not empty, every connection is closed with its next answer"),
    ] = DRAIN_FILE
    log_format: Annotated[LogFormat, Field(description="text, or json: an object a line")] = LogFormat.TEXT
    access_log: Annotated[bool, Field(description="log a line a request, probes and scrapes aside")] = False
    max_inputs: Annotated[int, Field(ge=1, description="texts in one request, at most")] = 2048
    max_request_tokens: Annotated[int, Field(ge=1, description="tokens in one request, at most")] = 300_000
    max_body_bytes: Annotated[int, Field(ge=1, description="bytes of one request's body, at most")] = 2**22
    max_header_bytes: Annotated[int, Field(ge=1024, description="bytes of one request's headers, at most")] = 2**16
    max_header_fields: Annotated[int, Field(ge=10, description="header fields of one request, at most")] = 100
    max_url_bytes: Annotated[int, Field(ge=128, description="bytes of one request's URL, at most")] = 2**13
    max_connections: Annotated[
        int,
        Field(ge=1, description="open connections, at most; one more closes the one that is idle for longest"),
    ] = 4096
    max_unsent_bytes: Annotated[
        int,
        Field(ge=1, description="bytes of answers being made or not yet read, at most; larger requests then wait"),
    ] = 2**25
    read_timeout: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds for a request's headers to come; for its body, beside one for each 64 KiB",
        ),
    ] = 20.0
    write_timeout: Annotated[
        float,
        Field(
            gt=0,
            allow_inf_nan=False,
            description="seconds in which a client has to read 64 KiB of its answer, or half of what is left",
        ),
    ] = 10.0
    max_waiting_tokens: Annotated[
        int, Field(ge=1, description="tokens that may wait; a request that finds more is answered 429")
    ] = 1_000_000
    request_timeout: Annotated[
        float, Field(gt=0, le=_DAY, allow_inf_nan=False, description="seconds for a request without X-Request-Timeout")
    ] = 300.0
    max_request_timeout: Annotated[
        float,
        Field(gt=0, le=_DAY, allow_inf_nan=False, description="seconds that X-Request-Timeout may ask for, at most"),
    ] = 600.0
    grace_period: Annotated[
        float,
        Field(ge=0, le=3600, allow_inf_nan=False, description="seconds for what is under way or waits at SIGTERM"),
    ] = 25.0
    stuck_after: Annotated[
        float,
        Field(
            gt=0,
            le=_DAY,
            allow_inf_nan=False,
            description="seconds, beside 20 times its usual time, after which an unanswered batch ends the server",
        ),
    ] = 120.0
    allow_padded: Annotated[
        bool,
        Field(
            description="serve with padded batches, which are slower, where torch cannot run attention over packed ones"
        ),
    ] = False
    frontends: Annotated[
        Count,
        Field(description="processes for HTTP and tokenization; auto: as many as feed the workers"),
    ] = AUTO
    workers: Annotated[
        Count,
        Field(description="processes that compute; auto: one for every two cores, or one a GPU"),
    ] = AUTO
    allow_pickle: Annotated[
        bool, Field(description="read weights from pickles (pytorch_model.bin), which can run code, too")
    ] = False
    trust_remote_code: Annotated[
        bool, Field(description="run Python code that comes with the model (auto_map): it may do all that a server may")
    ] = False

    @field_validator("model_name", "model_aliases")
    @classmethod
    def _the_name_prints(cls, name: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not "".join(name).isprintable():
            raise ValueError("use characters that print")
        return name

    @field_validator("model_aliases")
    @classmethod
    def _each_name_once(cls, aliases: tuple[str, ...], given: ValidationInfo) -> tuple[str, ...]:
        return tuple(dict.fromkeys(alias for alias in aliases if alias != given.data.get("model_name")))

    @field_validator("allowed_origins", "allowed_methods", "allowed_headers", mode="before")
    @classmethod
    def _a_list_is_json_or_has_commas(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        if given.startswith("["):
            return tuple(json.loads(given))
        return tuple(item.strip() for item in given.split(",") if item.strip())

    @model_validator(mode="after")
    def _credentials_are_for_named_origins(self) -> Self:
        if self.allow_credentials and "*" in self.allowed_origins:
            raise ValueError("--allow_credentials goes with origins that are named: --allowed_origins has *")
        return self

    @field_validator("task")
    @classmethod
    def _task_is_the_backends_own(cls, task: Task | None, given: ValidationInfo) -> Task | None:
        backend = given.data.get("backend")  # missing where it was refused itself
        if backend is None or task is None or any(task in words.values() for words in TASKS[backend]):
            return task
        kind = next(kind for words in TASKS[BackendName.AUTO] for kind, word in words.items() if word == task)
        raise ValueError(f"--backend={backend} has another word for it: write --task={TASKS[backend][0][kind]}")

    @model_validator(mode="after")
    def _quantization_is_possible(self) -> Self:
        if self.quantize is Quantization.NONE:
            return self
        if self.backend not in _MEASURE:
            raise ValueError(
                f"--quantize={self.quantize} is not available with --backend={self.backend}: "
                "use --backend=huggingface, or leave --backend or --quantize out"
            )
        if self.dtype not in (Dtype.AUTO, Dtype.FLOAT32):
            raise ValueError(
                f"--quantize={self.quantize} and --dtype={self.dtype} exclude each other, since the layers that are "
                "not quantized compute in float32: leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _the_cosine_is_measured(self) -> Self:
        if "minimum_cosine" in self.model_fields_set and self.backend not in _MEASURE:
            raise ValueError(
                f"--minimum_cosine={self.minimum_cosine:g} is not measured with --backend={self.backend}: "
                "use --backend=huggingface, or leave --backend or --minimum_cosine out"
            )
        return self

    @model_validator(mode="after")
    def _the_default_is_within_the_maximum(self) -> Self:
        if self.request_timeout > self.max_request_timeout:
            raise ValueError(
                f"--request_timeout={self.request_timeout:g} is more than "
                f"--max_request_timeout={self.max_request_timeout:g}: lower the first, or raise the second"
            )
        return self
