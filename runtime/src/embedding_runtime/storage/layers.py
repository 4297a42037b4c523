"""Unpacks tars one over another, as a container runtime does with the layers of an image.

https://github.com/opencontainers/image-spec/blob/main/layer.md
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from embedding_runtime.storage.archive import Limits, unpack
from embedding_runtime.storage.source import RemoteFile

__all__ = ["MODEL_DIRECTORY", "overlay", "unpack_layers"]

MODEL_DIRECTORY = "models/"
"""Of an image that has the model besides other files, such as a KServe modelcar."""

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"

T = TypeVar("T")

Unpacked = tuple[Path, str]
"""Where a file is, and its SHA-256."""


def unpack_layers(
    directory: Path, files: Sequence[RemoteFile], sha256: Mapping[str, str], into: Path, limits: Limits
) -> dict[str, Unpacked]:
    """Unpack the layers among files in a directory. Returns the model's files by path.

    Only `models/` is unpacked if there is any: the rest of an image may have links and devices. `sha256`: of the files,
    by path. Raises BadArchive, and OSError of the disk.
    """
    below_models = _Stack(directory, into / "below-models", limits, MODEL_DIRECTORY).unpack(files, sha256)
    if below_models:
        return {path.removeprefix(MODEL_DIRECTORY): file for path, file in below_models.items()}
    return _Stack(directory, into / "all", limits, "").unpack(files, sha256)


def overlay(lower: Mapping[str, T], upper: Mapping[str, T]) -> dict[str, T]:
    """The files of a layer over those of the layers below it, by path. Pure.

    A file `.wh.NAME` removes NAME from below, and `.wh..wh..opq` all of its directory.
    """
    added = {path: file for path, file in upper.items() if not _name(path).startswith(_WHITEOUT)}
    removed, emptied = set(added), set()
    for path in upper.keys() - added.keys():
        parent, name = path.removesuffix(_name(path)), _name(path)
        if name == _OPAQUE:
            emptied.add(parent)
        else:
            removed.add(parent + name.removeprefix(_WHITEOUT))
    directories = {parent.rstrip("/") for path in added for parent in _parents(path)}
    kept = {
        path: file
        for path, file in lower.items()
        if path not in directories
        and path not in removed
        and not any(parent in emptied or parent.rstrip("/") in removed for parent in _parents(path))
    }
    return {**kept, **added}


@dataclass(frozen=True)
class _Stack:
    """Layers that are unpacked to a directory each; one limit is for all of them."""

    directory: Path
    into: Path
    limits: Limits
    below: str
    """What is unpacked; empty for all."""

    def unpack(self, files: Iterable[RemoteFile], sha256: Mapping[str, str]) -> dict[str, Unpacked]:
        """The files by their whole paths."""
        found: dict[str, Unpacked] = {}
        left = self.limits
        for number, file in enumerate(files):
            source, place = self.directory / file.path, self.into / str(number)
            if file.is_layer:
                digests = unpack(source, place, left, self._is_wanted)
                layer = {path: (place / path, digest) for path, digest in digests.items()}
                size = sum(path.stat().st_size for path, _ in layer.values())
                left = replace(left, files=left.files - len(layer), size=left.size - size)
            else:
                layer = {file.path: (source, sha256[file.path])} if self._is_wanted(file.path) else {}
            found = overlay(found, layer)
        return found

    def _is_wanted(self, path: str) -> bool:
        return path.startswith(self.below) or _name(path).startswith(_WHITEOUT)


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _parents(path: str) -> Iterator[str]:
    """The directories that a path is in, with a `/` at the end; the top is empty."""
    at = 0
    yield ""
    while at := path.find("/", at) + 1:
        yield path[:at]
