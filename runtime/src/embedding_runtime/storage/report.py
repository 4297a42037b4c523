"""Reports a model in the container's termination message."""

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from embedding_runtime.contract import MODEL_NOTE, DownloadedModel
from embedding_runtime.storage.parse import parse_json

__all__ = ["describe", "is_origin", "is_weights", "report", "report_directory"]

_WEIGHTS = frozenset({".safetensors", ".bin"})


def report(model: DownloadedModel, termination_log: Path, say: Callable[[str], None]) -> None:
    """Write the report. Outside of a pod there is no such file. A report that is not possible is no failure."""
    if not termination_log.is_file():
        return
    try:
        termination_log.write_text(f"{model}\n")
    except OSError as error:
        say(f"the model is not reported in {termination_log}: {error}")


def report_directory(directory: Path, termination_log: Path, say: Callable[[str], None]) -> None:
    """Report the model in a directory, which may be a user's own: one that cannot be described is no failure either."""
    try:
        model = describe(directory)
    except (OSError, ValueError) as error:
        say(f"{directory} is not reported in {termination_log}: {error}")
    else:
        report(model, termination_log, say)


def describe(directory: Path, path: str | None = None) -> DownloadedModel:
    """The model in a directory, by its note and its files. `path`: in a cache. Raises OSError, ValueError."""
    note = directory / MODEL_NOTE
    content = parse_json(note.read_bytes()) if note.is_file() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{note} is not a JSON object")  # noqa: TRY004 a wrong content, not a wrong argument
    size = sum(each.stat().st_size for each in directory.rglob("*") if is_weights(each.name))
    return DownloadedModel.model_validate({**content, "weights_bytes": size, "path": path})


def is_origin(note: Mapping[str, Any]) -> bool:
    """Whether a note that was copied with a model can be reported. It may be anybody's."""
    try:
        found = DownloadedModel.model_validate({**note, "weights_bytes": 0})
    except ValueError:
        return False
    return found == DownloadedModel(weights_bytes=0, revision=found.revision, code=found.code)


def is_weights(path: str) -> bool:
    """Whether a file has weights, by its name."""
    return PurePosixPath(path).suffix in _WEIGHTS
