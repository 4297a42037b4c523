"""The service's own name, which becomes a host name and a label."""

import re

from embedding_operator.core.checks.problems import invalid, quoted
from embedding_operator.errors import Problem

__all__ = ["check_name"]

_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


def check_name(name: str) -> list[Problem]:
    """A CEL rule says the same; a manifest that `render` reads never met it."""
    if _NAME.fullmatch(name):
        return []
    rule = "use at most 63 lowercase letters, digits and '-', and start with a letter"
    return invalid([f"metadata.name {quoted(name)} cannot be a host name: {rule}"])
