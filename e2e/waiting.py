"""Waits for what no `kubectl wait` can tell."""

import time
from collections.abc import Callable
from typing import Literal, TypeVar

from kube import CommandFailed

__all__ = ["eventually", "settles", "stays"]

T = TypeVar("T")
PAUSE = 0.2


def eventually(what: str, look: Callable[[], T | Literal[False] | None], *, within: float = 180.0) -> T:
    """Look until something true is found, and return it.

    A look that fails with CommandFailed or AssertionError has found nothing; the last of them says why in the end.
    """
    end = time.monotonic() + within
    while True:
        trouble: Exception | None = None
        try:
            if found := look():
                return found
        except (CommandFailed, AssertionError) as error:
            trouble = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {within:.0f} s: {what}") from trouble
        time.sleep(PAUSE)


def settles(what: str, look: Callable[[], T], *, seconds: float, within: float = 180.0) -> T:
    """Look until the same is found for so many seconds, and return it: what was under way has come to its end."""
    found, since, end = look(), time.monotonic(), time.monotonic() + within
    while time.monotonic() < since + seconds:
        assert time.monotonic() < end, f"does not settle within {within:.0f} s: {what}"
        time.sleep(PAUSE * 5)
        if (now := look()) != found:
            found, since = now, time.monotonic()
    return found


def stays(what: str, look: Callable[[], object], *, seconds: float) -> None:
    """Look again and again for that long: what is found is what was found at first."""
    first, end = look(), time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(PAUSE * 5)
        now = look()
        assert now == first, f"{what} has changed"
