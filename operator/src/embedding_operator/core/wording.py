"""Text utilities for messages: sentences, the end of a log, shortening."""

from collections.abc import Iterable

__all__ = ["MESSAGE_LENGTH", "capitalized", "last_lines", "one_sentence", "sentence", "shortened", "without_repetition"]

MESSAGE_LENGTH = 2000
"""The most characters of a message in the status: the last lines of a log, and what to do about them."""
_TAIL_LINES, _TAIL_CHARACTERS = 5, 1000


def capitalized(text: str) -> str:
    """With a capital first letter; the rest keeps its case."""
    return text[:1].upper() + text[1:]


def sentence(text: str) -> str:
    """Ends with one full stop."""
    text = text.strip()
    return text if text.endswith(("?", "!")) else text.rstrip(".") + "."


def one_sentence(messages: Iterable[str]) -> str:
    """Several messages as one sentence."""
    return sentence("; ".join(each.rstrip(".") for each in messages))


def last_lines(log: str) -> str:
    """The last lines of a log that are not blank."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return "\n".join(lines[-_TAIL_LINES:])[-_TAIL_CHARACTERS:]


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters; the middle is left out."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def without_repetition(text: str) -> str:
    """Sentences that the scheduler says twice (for the nodes, then for preemption) are said once."""
    kept: list[str] = []
    for part in text.strip().rstrip(".").split(". "):
        if not any(each.endswith(part) for each in kept):
            kept.append(part)
    return ". ".join(kept)
