"""Parses JSON of others, who may be hostile."""

import json
import math
from typing import Any

__all__ = ["parse_json"]


def parse_json(text: bytes | str) -> Any:
    """Raises ValueError, also for what is nested too deeply, and for numbers that are not finite."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _finite(text: str) -> float:
    """Of such as 1e999, int() raises no ValueError."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:100]} is not a finite number")
    return number
