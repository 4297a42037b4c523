"""Reports a downloaded model in the container's termination message."""

import json
from collections.abc import Callable
from pathlib import Path

from embedding_runtime.contract import MODEL_NOTE, DownloadedModel

__all__ = ["report"]

_WEIGHTS = frozenset({".safetensors", ".bin"})


def report(directory: Path, termination_log: Path, say: Callable[[str], None]) -> None:
    """Write the report. Outside of a pod there is no such file. A report that is not possible is no failure."""
    if not termination_log.is_file():
        return
    try:
        termination_log.write_text(f"{_downloaded(directory)}\n")
    except (OSError, ValueError) as error:
        say(f"{directory} is not reported in {termination_log}: {error}")


def _downloaded(directory: Path) -> DownloadedModel:
    """Raises OSError, ValueError."""
    note = directory / MODEL_NOTE
    content = json.loads(note.read_bytes()) if note.is_file() else {}
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.suffix in _WEIGHTS)
    return DownloadedModel.model_validate({**content, "weights_bytes": size} if isinstance(content, dict) else content)
