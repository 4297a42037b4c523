"""Parses JSON of others, who may be hostile."""

import json
from typing import Any

__all__ = ["parse_json"]


def parse_json(text: bytes | str) -> Any:
    """Raises ValueError, also for what is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
