"""The note beside a model, embedding-model.json: where it comes from, and the digests of its files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedding_runtime.contract import MODEL_NOTE

__all__ = ["damaged_files", "read_note", "write_note"]


def read_note(directory: Path) -> dict[str, Any]:
    """The note of a model, which may have been copied with it; empty if there is none that can be read."""
    try:
        note = json.loads((directory / MODEL_NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def write_note(directory: Path, origin: Mapping[str, Any], sha256: Mapping[str, str]) -> None:
    """Write the note. `sha256`: of each file, by path."""
    files = {
        path: {"size": (directory / path).stat().st_size, "sha256": digest}
        for path, digest in sorted(sha256.items())
        if path != MODEL_NOTE
    }
    (directory / MODEL_NOTE).write_text(json.dumps({**origin, "files": files}, indent=1))


def damaged_files(directory: Path, note: Mapping[str, Any]) -> list[str]:
    """What is wrong with the files that the note lists, a line each."""
    found = []
    for path, listed in note["files"].items():
        file = directory / path
        if not file.is_file():
            found.append(f"{path} is missing")
        elif (size := file.stat().st_size) != listed["size"]:
            found.append(f"{path} has {size} bytes, not {listed['size']}")
        else:
            with file.open("rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if digest != listed["sha256"]:
                found.append(f"{path} has the SHA-256 {digest}, not {listed['sha256']}")
    return found
