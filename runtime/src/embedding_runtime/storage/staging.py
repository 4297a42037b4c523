"""Creates a directory atomically: fills it under another name, then renames it."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["leftovers", "resumable", "staged"]


@contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A temporary directory next to `directory`. When the block succeeds, its subdirectory `model` becomes `directory`.

    Everything else in it is deleted, as `resumable` does. Raises NoModel if another process uses it.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    staging = directory.parent / f"{_prefix(directory)}partial"
    for leftover in leftovers(directory):
        if leftover != staging:
            shutil.rmtree(leftover, ignore_errors=True)
    with resumable(staging), (staging / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            message = f"another process downloads to {directory}: wait until it ends, or use another directory"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message, resumable=True) from error
        yield staging
        (staging / "model").rename(directory)


@contextmanager
def resumable(staging: Path) -> Iterator[None]:
    """A temporary directory, with a subdirectory `model`. It is deleted at the end of the block.

    After a resumable NoModel, or if the process is killed, it stays, and the next attempt gets it as it is.
    """
    if (staging / "model").is_symlink():  # other pods can write to the volume of a cache
        (staging / "model").unlink()
    (staging / "model").mkdir(parents=True, exist_ok=True)
    keep = False
    try:
        yield
    except NoModel as error:
        keep = error.resumable
        raise
    finally:
        if not keep:
            shutil.rmtree(staging, ignore_errors=True)


def leftovers(directory: Path) -> list[Path]:
    """Temporary directories of unfinished attempts."""
    return list(directory.parent.glob(f"{_prefix(directory)}*"))


def _prefix(directory: Path) -> str:
    return f".{directory.name}."
