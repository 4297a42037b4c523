"""A directory that is there in whole or not at all: filled under another name, then renamed."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["remove_leftovers", "staged"]

_TRIES = 20


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """An empty directory beside `directory`; when the block ends well, its part `model` becomes `directory`.

    What else is put beside `model` goes away with it when the block ends, well or not.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(directory)
    staging = Path(tempfile.mkdtemp(prefix=_prefix(directory), dir=directory.parent))
    try:
        model = staging / "model"
        model.mkdir()
        yield staging
        model.rename(directory)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_leftovers(directory: Path) -> None:
    """Removes what other attempts have left beside `directory`, as far as it can be removed.

    More than once, because a thread of an attempt that ends right now may put a file where one was removed.
    """
    for _ in range(_TRIES):
        for leftover in directory.parent.glob(f"{_prefix(directory)}*"):
            shutil.rmtree(leftover, ignore_errors=True)


def _prefix(directory: Path) -> str:
    return f".{directory.name}."
