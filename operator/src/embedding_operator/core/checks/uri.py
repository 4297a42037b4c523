"""The model's address."""

from embedding_operator.core.checks.problems import invalid, quoted
from embedding_operator.errors import Problem
from embedding_runtime.contract import BadUri, ModelUri, parse_uri

__all__ = ["check_uri"]


def check_uri(text: str) -> tuple[ModelUri | None, list[Problem]]:
    """What the address names, or why it names nothing. It becomes an argument of a process, so it has to print."""
    if not text.isprintable():
        words = f"{quoted(text)} has characters that do not print: take them out"
        return None, invalid([f"spec.model.storageUri: {words}"])
    try:
        return parse_uri(text), []
    except BadUri as error:
        return None, invalid([f"spec.model.storageUri: {error}"])
