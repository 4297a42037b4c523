"""What is in a cache, in bytes: what may be removed, and what is free when others have written what they began."""

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from embedding_runtime.contract import MODEL_NOTE
from embedding_runtime.storage.cache import Cache, Entry

__all__ = ["Space", "bytes_in", "entries", "reserve", "space"]

_RESERVED = "reserved"
"""File of an unfinished model: the bytes that it will have."""


@dataclass(frozen=True)
class Space:
    """Bytes of a cache. What other processes are about to write counts as written."""

    free: int
    """On the volume."""
    used: int


def entries(cache: Cache) -> list[Entry]:
    """Complete models, and unfinished ones that no process writes; nothing else. Raises OSError."""
    now = cache.clock()
    models = [
        Entry(each.name, bytes_in(each), now - cache.last_used(each.name))
        for each in cache.models.iterdir()
        if _is_file(each / MODEL_NOTE)
    ]
    unfinished = [
        Entry(each.name, bytes_in(each), now - each.stat().st_mtime, is_unfinished=True)
        for each in cache.unfinished()
        if cache.is_abandoned(each)
    ]
    return models + unfinished


def space(cache: Cache, staging: Path) -> Space:
    """The space for what is written to `staging`. Raises OSError."""
    others = [each for each in cache.unfinished() if each != staging]
    promised = sum(_promised(each) for each in others if not cache.is_abandoned(each))
    return Space(shutil.disk_usage(cache.root).free - promised, bytes_in(cache.root) + promised)


def reserve(staging: Path, size: int) -> None:
    """So many bytes will be written to `staging`, besides those that are there. Raises OSError."""
    if staging.is_dir():
        (staging / _RESERVED).write_text(str(bytes_in(staging) + size))


def _promised(staging: Path) -> int:
    """Bytes that its writer has reserved and not written yet."""
    try:
        reserved = int((staging / _RESERVED).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return 0
    return max(reserved - bytes_in(staging), 0)


def bytes_in(directory: Path) -> int:
    """What files take on the disk, whatever their size. Those that vanish meanwhile or cannot be read do not count."""
    size = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                size += (Path(folder) / name).lstat().st_blocks * 512
    return size


def _is_file(path: Path) -> bool:
    """False for one in a directory of another user, too."""
    try:
        return path.is_file()
    except PermissionError:
        return False
