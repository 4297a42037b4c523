"""A directory that is there in whole or not at all: filled under another name, then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["leftovers", "staged"]


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A directory beside `directory`; when the block ends well, its part `model` becomes `directory`.

    What is put beside `model` goes away when the block ends, and so does what attempts that were killed have left.
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
    """What unfinished attempts have put beside `directory`."""
    return list(directory.parent.glob(f"{_prefix(directory)}*"))


def _prefix(directory: Path) -> str:
    return f".{directory.name}."
