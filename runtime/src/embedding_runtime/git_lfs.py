"""Detects Git LFS pointers, which a clone has instead of large files before `git lfs pull`."""

import re
from pathlib import Path

__all__ = ["pointer_problem"]

_LONGEST = 1024
"""Maximum size of a pointer in bytes, according to the specification."""

_POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v\d+\n(?:.*\n)*?size (\d+)(?:\n|$)")


def pointer_problem(path: Path) -> str | None:
    """Describe a pointer and what to do; None if the file is not a pointer. Raises OSError."""
    if path.stat().st_size > _LONGEST:
        return None
    with path.open("rb") as stream:
        found = _POINTER.match(stream.read(_LONGEST))
    if found is None:
        return None
    return (
        f"{path} is a Git LFS pointer to a file of {int(found[1])} bytes, which was not downloaded: run `git lfs pull` "
        "in the repository that it was copied from, or download the model from its hub (hf://owner/name)"
    )
