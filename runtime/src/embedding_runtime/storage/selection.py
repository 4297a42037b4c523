"""Selects the files of a model to download: those that a backend reads. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping
from fnmatch import translate
from pathlib import PurePosixPath

from embedding_runtime.contract import CODE_VARIABLE, DownloadVerdict, HttpUri, HuggingFaceUri, ModelUri
from embedding_runtime.remote_code import CODE_DIR
from embedding_runtime.storage.archive import is_archive
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.names import bad_names, clash
from embedding_runtime.storage.source import Listing, RemoteFile

__all__ = ["is_model", "is_packed", "select", "select_files", "trusts_code", "wanted"]


def _names(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(map(translate, patterns)))


_OTHER_RUNTIMES = frozenset({"onnx", "openvino", "coreml", "tflite"})
"""Directories with the weights in formats that no backend reads."""

_NEVER_READ = _names("*.h5", "*.ot", "*.msgpack", "*.onnx", "*.onnx_data", "*.tflite", "*.gguf", "*.mlmodel")

_PICKLES = _names("pytorch_model*.bin", "pytorch_model*.bin.index.json")
"""Duplicates of a safetensors file in the same directory; without one (as in `2_Dense/`), the only weights."""

_CHECKPOINTS = _names("*.pt", "*.pth", "*.ckpt", "training_args.bin")
"""Files of training and weights for other programs, skipped if there are any safetensors."""

_TOKEN_HEADS = frozenset({"sparse_linear.pt", "colbert_linear.pt"})
"""BGE-M3's layers for sparse and ColBERT vectors, which are in no safetensors file."""


def select_files(uri: ModelUri, listing: Listing, *, is_part: bool = False) -> list[RemoteFile]:
    """The files to download, in order: an archive, layers, a single file of a web server, or what a backend reads.

    `is_part`: they may be less than a model. Raises NoModel.
    """
    if (problem := _problem(listing)) is not None:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{uri}: {problem}: nothing was downloaded")
    if is_packed(listing) or isinstance(uri, HttpUri):
        return list(listing.files.values())
    return [listing.files[path] for path in select(uri, listing.files, listing.place, is_part=is_part)]


def is_packed(listing: Listing) -> bool:
    """Whether the files of the model are in an archive, or in layers of an image."""
    files = listing.files.values()
    return any(file.is_layer for file in files) or (len(files) == 1 and all(is_archive(file.path) for file in files))


def select(uri: ModelUri, paths: Iterable[str], place: str, *, is_part: bool = False) -> list[str]:
    """The files that a backend reads. `place`: where they are, for messages. Raises NoModel."""
    if isinstance(uri, HuggingFaceUri):  # code of another repository comes from that repository
        paths = [path for path in paths if not path.startswith(f"{CODE_DIR}/")]
    chosen = wanted(paths)
    if (problem := clash(chosen)) is not None:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{uri}: {problem}")
    if not chosen or not (is_part or is_model(chosen)):
        problem = "has no files that are used" if is_part else "has neither config.json nor modules.json"
        raise NoModel(DownloadVerdict.MODEL_NOT_FOUND, f"{uri} is not a model: {place} {problem}")
    return chosen


def _problem(listing: Listing) -> str | None:
    """What is wrong with a listing that may be hostile, if so."""
    if len(listing.files) > _MOST_FILES:
        return f"{len(listing.files)} files are listed, and at most {_MOST_FILES} are downloaded"
    for path, file in listing.files.items():
        if not 0 <= file.size <= _LARGEST_FILE:
            return f"{path[:200]!r} is listed with {file.size} bytes"
    return bad_names(listing.files)


_MOST_FILES = 100_000
_LARGEST_FILE = 1 << 50


def wanted(paths: Iterable[str]) -> list[str]:
    """Select the files to download from relative paths (with `/`), in order.

    Pickled weights are selected only in directories without safetensors.
    """
    files = [file for file in map(PurePosixPath, paths) if not _is_never_read(file)]
    with_safetensors = {file.parent for file in files if file.suffix == ".safetensors"}
    return [
        str(file)
        for file in files
        if not (file.parent in with_safetensors and _PICKLES.match(file.name))
        and not (with_safetensors and _CHECKPOINTS.match(file.name) and str(file) not in _TOKEN_HEADS)
    ]


def is_model(paths: Collection[str]) -> bool:
    """Whether the files are a model: transformers' config.json or sentence-transformers' modules.json."""
    return "config.json" in paths or "modules.json" in paths


def trusts_code(environ: Mapping[str, str]) -> bool:
    """Whether to download Python code from other repositories."""
    return environ.get(CODE_VARIABLE, "").strip().lower() in ("1", "true", "yes")


def _is_never_read(file: PurePosixPath) -> bool:
    return (
        any(part.startswith(".") for part in file.parts)
        or not _OTHER_RUNTIMES.isdisjoint(file.parts[:-1])
        or _NEVER_READ.match(file.name) is not None
    )
