"""The table of the flags of `python -m embedding_runtime serve`. Names are KServe's where it has them."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Annotated, ClassVar

from pydantic import Field

from embedding_runtime.contract.flags import FlagModel
from embedding_runtime.contract.initializer import MODEL_DIR
from embedding_runtime.contract.serve_values import AUTO, Count, Sizes
from embedding_runtime.contract.terms import DRAIN_FILE, BackendName, Dtype, LogFormat, Quantization, Task, Truncate

__all__ = ["ServeFlags"]

_DAY = 24 * 60 * 60
_LONGEST_NAME = 253


class ServeFlags(FlagModel):
    """The flags of the server, each by itself: `ServeArgs` has the rules between them."""

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
