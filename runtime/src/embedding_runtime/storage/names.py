"""Checks names of files from elsewhere: none leads out of the directory, no two are in each other's way. Pure."""

import re
import unicodedata
from collections.abc import Iterable

__all__ = ["bad_name", "bad_names", "clash"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST, _LONGEST_PART, _DEEPEST = 1024, 255, 32


def bad_name(path: str) -> str | None:
    """Why a relative path with `/` must not be written, if so."""
    parts = path.split("/")
    sizes = [len(part.encode(errors="replace")) for part in parts]
    problems = {
        "is absolute": path.startswith("/"),
        "has a backslash or a drive": "\\" in path or re.match(r"[A-Za-z]:", path),
        "has an empty part, '.' or '..'": not {"", ".", ".."}.isdisjoint(parts),
        "has a control character": _CONTROL.search(path),
        "is not valid Unicode": any("\ud800" <= letter <= "\udfff" for letter in path),
        f"is too long: at most {_DEEPEST} directories, {_LONGEST_PART} bytes each, {_LONGEST} in all": max(sizes)
        > _LONGEST_PART
        or sum(sizes) > _LONGEST
        or len(parts) > _DEEPEST,
    }
    return next((problem for problem, found in problems.items() if found), None)


def bad_names(paths: Iterable[str]) -> str | None:
    """What is wrong with the names of files that are written to one directory, if so."""
    files: set[str] = set()
    directories: set[str] = set()
    for path in paths:
        if (problem := bad_name(path)) is not None:
            return f"the name {path[:_LONGEST_PART]!r} {problem}"
        if path in files:
            return f"the name {path!r} is there twice"
        files.add(path)
        parts = path.split("/")
        directories.update("/".join(parts[:length]) for length in range(1, len(parts)))
    if both := sorted(files & directories):
        return f"{both[0]!r} is a file and a directory"
    return None


def clash(paths: Iterable[str]) -> str | None:
    """What is wrong with files that are written together, if some are one file where case does not count."""
    written: dict[str, str] = {}
    for path in paths:
        other = written.setdefault(unicodedata.normalize("NFC", path).casefold(), path)
        if other != path:
            return f"{other!r} and {path!r} are one file where case does not count"
    return None
