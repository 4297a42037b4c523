"""Which files of a model are fetched: what some backend reads. Pure."""

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

__all__ = ["is_model", "wanted"]

_OTHER_RUNTIMES = frozenset({"onnx", "openvino", "coreml", "tflite"})
"""Directories with the same weights for programs that no backend is."""

_NEVER_READ = ("*.h5", "*.ot", "*.msgpack", "*.onnx", "*.onnx_data", "*.tflite", "*.gguf", "*.mlmodel")

_PICKLES = ("pytorch_model*.bin", "pytorch_model*.bin.index.json")
"""The same weights again where a safetensors file lies beside them; where none does (`2_Dense/`), the only ones."""

_CHECKPOINTS = ("*.pt", "*.pth", "*.ckpt", "training_args.bin")
"""What training left, and other programs' weights, where any safetensors are."""


def wanted(paths: Iterable[str]) -> list[str]:
    """The files to fetch, of those at these paths (relative, with `/`), in their order.

    Pickled weights are taken only from directories that hold no safetensors.
    """
    files = [file for file in map(PurePosixPath, paths) if not _is_never_read(file)]
    with_safetensors = {file.parent for file in files if file.suffix == ".safetensors"}
    return [
        str(file)
        for file in files
        if not (file.parent in with_safetensors and _matches(file, _PICKLES))
        and not (with_safetensors and _matches(file, _CHECKPOINTS))
    ]


def is_model(paths: Collection[str]) -> bool:
    """Whether a model lies here: transformers' config.json, or sentence-transformers' list of modules."""
    return "config.json" in paths or "modules.json" in paths


def _is_never_read(file: PurePosixPath) -> bool:
    return (
        any(part.startswith(".") for part in file.parts)
        or not _OTHER_RUNTIMES.isdisjoint(file.parts[:-1])
        or _matches(file, _NEVER_READ)
    )


def _matches(file: PurePosixPath, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(file.name, pattern) for pattern in patterns)
