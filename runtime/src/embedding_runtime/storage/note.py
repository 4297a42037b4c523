"""The note beside a model, embedding-model.json: where it comes from, and the digests of its files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embedding_runtime.contract import MODEL_NOTE, DownloadVerdict
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.parse import parse_json

__all__ = ["is_whole", "read_note", "verify", "write_note"]


def read_note(directory: Path) -> dict[str, Any]:
    """The note of a model, which may have been copied with it; empty if there is none that can be read."""
    try:
        note = parse_json((directory / MODEL_NOTE).read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(note, dict):
        return {}
    files = note.get("files")
    if not isinstance(files, dict) or not all(isinstance(each, dict) for each in files.values()):
        note.pop("files", None)
    return note


def write_note(directory: Path, origin: Mapping[str, Any], sha256: Mapping[str, str]) -> None:
    """Write the note. `sha256`: of each file, by path."""
    files = {
        path: {"size": (directory / path).stat().st_size, "sha256": digest}
        for path, digest in sorted(sha256.items())
        if path != MODEL_NOTE
    }
    # A line for each value: `indent` would do so too, but not with the encoder in C.
    (directory / MODEL_NOTE).write_text(json.dumps({**origin, "files": files}, separators=(",\n", ": ")))


def is_whole(directory: Path) -> bool:
    """Whether all files that the note lists are there, in their sizes."""
    files = read_note(directory).get("files") or {}
    try:
        return len(files) > 0 and all((directory / path).stat().st_size == each["size"] for path, each in files.items())
    except (AttributeError, FileNotFoundError, KeyError, NotADirectoryError, TypeError):  # the note may be anything
        return False


def verify(directory: Path) -> str:
    """Compare the files of a model with their digests in its note. Returns a line about it. Raises NoModel."""
    listed = read_note(directory).get("files")
    if not listed:
        raise NoModel(
            DownloadVerdict.DOWNLOAD_FAILED,
            f"{directory} cannot be verified: its {MODEL_NOTE} has no digests; remove the directory and fetch it again",
        )
    problems = [problem for path, file in listed.items() if (problem := _problem(directory / path, file)) is not None]
    if problems:
        raise NoModel(
            DownloadVerdict.CHECKSUM_MISMATCH,
            f"{directory} is damaged: {'; '.join(problems)}; remove the directory and fetch it again",
        )
    return f"verified {len(listed)} files in {directory}"


def _problem(file: Path, listed: Mapping[str, Any]) -> str | None:
    if not file.is_file():
        return f"{file.name} is missing"
    if (size := file.stat().st_size) != listed["size"]:
        return f"{file.name} has {size} bytes, not {listed['size']}"
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return None if digest == listed["sha256"] else f"{file.name} has the SHA-256 {digest}, not {listed['sha256']}"
