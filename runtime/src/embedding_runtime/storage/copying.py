"""Copies a model from a local directory: `file://`, and `pvc://` through its mount."""

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.git_lfs import pointer_problem
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.progress import megabytes, progress
from embedding_runtime.storage.selection import is_model, wanted

__all__ = ["copy_model"]


def copy_model(uri: str, source: Path, into: Path, say: Callable[[str], None]) -> None:
    """Copy a model. Symbolic links are followed, since a Hugging Face cache consists of them. Raises NoModel."""
    if not source.is_dir():
        what = "is not a directory" if source.exists() else "does not exist"
        raise NoModel(DownloadVerdict.MODEL_NOT_FOUND, f"{uri}: {source} {what}")
    try:
        paths = wanted(_files(source))
        if not is_model(paths):
            raise NoModel(
                DownloadVerdict.MODEL_NOT_FOUND,
                f"{uri} is not a model: {source} has neither config.json nor modules.json",
            )
        _refuse_pointers(uri, source, paths)
        total = sum((source / path).stat().st_size for path in paths)
        say(f"copying {len(paths)} files, {megabytes(total)}, from {source}")
        with progress(into, total, say):
            for path in paths:
                (into / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / path, into / path)
    except OSError as error:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{uri} cannot be copied: {error}") from error


_NEEDED = frozenset({".bin", ".json", ".safetensors"})
"""Suffixes of files that backends need: weights, configuration, tokenizer."""


def _refuse_pointers(uri: str, source: Path, paths: Iterable[str]) -> None:
    """Raises NoModel for a Git LFS pointer."""
    for path in paths:
        if Path(path).suffix in _NEEDED and (problem := pointer_problem(source / path)) is not None:
            raise NoModel(DownloadVerdict.MODEL_NOT_FOUND, f"{uri} is not a complete model: {problem}")


def _files(directory: Path) -> list[str]:
    """Relative paths of all files, sorted."""

    def fail(error: OSError) -> None:
        raise error

    return sorted(
        (Path(folder) / name).relative_to(directory).as_posix()
        for folder, _, names in os.walk(directory, onerror=fail)
        for name in names
    )
