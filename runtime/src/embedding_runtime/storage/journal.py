"""Records which bytes of a download are on disk, so that the next process resumes an interrupted one."""

import hashlib
import json
import threading
from collections.abc import Collection
from pathlib import Path

from embedding_runtime.storage.source import Listing, RemoteFile, versions_of

__all__ = ["Journal", "plan_of"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Journal:
    """Ranges of bytes that are in the files of a directory. A line a range; thread-safe."""

    def __init__(self, path: Path, plan: str) -> None:
        """Continue the journal at `path` if it has the same plan, or else begin a new one."""
        lines = path.read_text().splitlines() if path.exists() else []
        self.is_new = not lines or lines[0] != plan
        self._lock = threading.Lock()
        self._spans: dict[str, list[tuple[int, int]]] = {}
        for line in () if self.is_new else lines[1:]:
            try:
                name, *span = json.loads(line)
            except ValueError:  # a process was killed while it wrote the line
                continue
            self._note(name, *span)
        self._stream = path.open("w" if self.is_new else "a", buffering=1)
        self._stream.write(f"{plan}\n" if self.is_new else "\n")  # ends a broken line

    def spans(self, name: str) -> list[tuple[int, int]]:
        """The ranges of a file that are on disk, merged, in order."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(self._spans.get(name, ())):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return merged

    def add(self, name: str, start: int, stop: int) -> None:
        """A range was written."""
        if start < stop:
            self._write(name, start, stop)

    def forget(self, name: str) -> None:
        """The bytes of a file are wrong."""
        self._write(name)

    def close(self) -> None:
        self._stream.close()

    def _write(self, name: str, *span: int) -> None:
        with self._lock:
            self._note(name, *span)
            self._stream.write(f"{json.dumps([name, *span])}\n")

    def _note(self, name: str, *span: int) -> None:
        if span:
            self._spans.setdefault(name, []).append((span[0], span[1]))
        else:
            self._spans.pop(name, None)


def plan_of(uri: str, listing: Listing, files: Collection[RemoteFile]) -> str:
    """Identifies a download: the versions of its files, and the boot of the machine if a file has no digest.

    Data that was not synced is lost when a machine ends: a digest shows it, and so another machine may resume, too.
    """
    is_verified = all(file.digest is not None for file in files)
    boot = _BOOT_ID.read_text().strip() if _BOOT_ID.exists() and not is_verified else ""
    facts = [uri, listing.version, boot, versions_of(files)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
