"""Git LFS pointers: the few lines that a clone without `git lfs pull` has in the place of a large file."""

import re
from pathlib import Path

__all__ = ["pointer_problem"]

_LONGEST = 1024
"""Bytes of a pointer, as its specification has it."""

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v\d+\n(?:.*\n)*?size (\d+)(?:\n|$)")


def pointer_problem(path: Path) -> str | None:
    """What is wrong with the file, and what to do, in words; None: it is no pointer. Raises OSError."""
    if path.stat().st_size > _LONGEST:
        return None
    with path.open("rb") as stream:
        found = _POINTER.match(stream.read(_LONGEST))
    if found is None:
        return None
    return (
        f"{path} is a Git LFS pointer to a file of {int(found[1])} bytes, which was not fetched: run `git lfs pull` in "
        "the repository that it was copied from, or fetch the model from its hub (hf://owner/name)"
    )
