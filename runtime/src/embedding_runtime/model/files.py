"""JSON files of a model, and the header of its weights."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from embedding_runtime.git_lfs import pointer_problem

__all__ = [
    "ModelRefused",
    "check_weights",
    "is_of_library",
    "json_in",
    "number",
    "object_in",
    "object_or_nothing",
    "refuse_pointer",
    "tensors_in",
    "typed",
    "weights_dtype",
]


class ModelRefused(Exception):
    """The model cannot be served exactly. The message has the file or flag and its value."""


def is_of_library(error: BaseException) -> bool:
    """Whether a library raised it, not a signal or a call to exit. A panic of Rust code is no Exception."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def refuse_pointer(path: Path) -> None:
    """Raises ModelRefused if the file exists and is a Git LFS pointer."""
    if path.is_file() and (problem := pointer_problem(path)) is not None:
        raise ModelRefused(problem)


def check_weights(directory: Path) -> None:
    """Raises ModelRefused if weights are Git LFS pointers."""
    files = sorted(directory.glob("model*.safetensors")) or sorted(directory.glob("pytorch_model*.bin"))
    for file in files:
        refuse_pointer(file)


def json_in(path: Path) -> Any:
    """Read a JSON file. Raises ModelRefused, like all functions here."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        refuse_pointer(path)
        raise ModelRefused(f"{path} cannot be read: {error}") from error


def object_in(path: Path) -> Mapping[str, Any]:
    """Read a JSON object from an existing file."""
    found = json_in(path)
    if not isinstance(found, dict):
        raise ModelRefused(f"{path} is not a JSON object")
    return found


def object_or_nothing(path: Path) -> Mapping[str, Any]:
    """Read a JSON object; empty if the file does not exist."""
    return object_in(path) if path.is_file() else {}


T = TypeVar("T")


def typed(path: Path, config: Mapping[str, Any], key: str, default: T) -> T:
    """The value of a key, which must have the type of the default; the default if there is none, or null."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, type(default)):
        raise ModelRefused(f"{path} has {key} {value!r}, which must be {_TYPES[type(default)]}")
    return value


_TYPES: Mapping[type, str] = {str: "a text", dict: "an object", list: "a list"}


def number(path: Path, config: Mapping[str, Any], *keys: str) -> int:
    """The positive value of the first existing key. `path`: the file of `config`."""
    value = next((config[key] for key in keys if key in config), None)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelRefused(f"{path} has no {' or '.join(keys)}, as the configuration of a text model must")
    return value


class Tensor(NamedTuple):
    """A tensor in a safetensors file."""

    dtype: str
    """The format's name of the type: F32, I64."""
    shape: tuple[int, ...]
    start: int
    """Position of its first byte in the file."""


def tensors_in(path: Path) -> Mapping[str, Tensor]:
    """The tensors that the header of a safetensors file lists, in their order."""
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
        return {
            name: Tensor(entry["dtype"], tuple(entry["shape"]), 8 + size + entry["data_offsets"][0])
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (
        struct.error,
        ValueError,
        OverflowError,
        MemoryError,
        RecursionError,
        LookupError,
        TypeError,
        AttributeError,
    ) as error:
        raise ModelRefused(f"{path} is not a safetensors file: {error}") from error


_SAFETENSORS_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def weights_dtype(path: Path) -> str | None:
    """The type of the first floating-point weight, with torch's name; None if it is not known."""
    if not path.is_file():
        return None
    kinds = (tensor.dtype for tensor in tensors_in(path).values())
    return next((_SAFETENSORS_TYPES[kind] for kind in kinds if kind in _SAFETENSORS_TYPES), None)
