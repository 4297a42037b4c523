"""Creates a directory atomically: fills it under another name, then renames it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["leftovers", "staged"]


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A temporary directory next to `directory`. When the block succeeds, its subdirectory `model` becomes `directory`.

    Everything else in it, and the rest of killed attempts, is deleted.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    for leftover in leftovers(directory):
        shutil.rmtree(leftover, ignore_errors=True)
    staging = Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=directory.parent))
    try:
        model = staging / "model"
        model.mkdir()
        yield staging
        model.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def leftovers(directory: Path) -> list[Path]:
    """Temporary directories of unfinished attempts."""
    return list(directory.parent.glob(f"{_prefix(directory)}*"))


def _prefix(directory: Path) -> str:
    return f".{directory.name}."
