"""The configuration of `python -m embedding_runtime serve`: its flags, and the rules between them."""

import json
from typing import Self

from pydantic import ValidationInfo, field_validator, model_validator

from embedding_runtime.contract.serve_flags import ServeFlags
from embedding_runtime.contract.terms import TASKS, BackendName, Dtype, Quantization, Task

__all__ = ["CANNOT_MOVE_VECTORS", "ServeArgs"]

_MEASURE = (BackendName.AUTO, BackendName.HUGGINGFACE)
"""Backends that support --quantize and --minimum_cosine, with which auto selects huggingface."""

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


class ServeArgs(ServeFlags):
    """The configuration of the server."""

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
            try:
                return tuple(json.loads(given))
            except (ValueError, RecursionError):
                raise ValueError("must be a JSON list of strings, or strings separated by commas") from None
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
