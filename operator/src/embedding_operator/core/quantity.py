"""Kubernetes quantities, by value: "1000m" is "1", 1024Mi is 1Gi."""

import re
from fractions import Fraction

__all__ = ["amount"]

_FORM = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]{1,2}))?", re.ASCII
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_MAX_LENGTH = 64
_MAX_EXPONENT = 18
_MAX = 2**63 - 1  # an API server silently lowers what is above


def amount(text: str) -> Fraction:
    """The number. Raises ValueError, with words for users, for anything that Kubernetes cannot hold."""
    match = _FORM.fullmatch(text) if len(text) <= _MAX_LENGTH else None
    if match is None or abs(int(match["exponent"] or 0)) > _MAX_EXPONENT:
        shown = text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."
        raise ValueError(f"{shown!r} is not a quantity: write a number with a suffix, such as 500m or 2Gi")
    number, suffix = Fraction(match["number"]), match["suffix"]
    power = _DECIMAL[suffix] if suffix in _DECIMAL else int(match["exponent"] or 0)
    value = number * (1 << _BINARY[suffix]) if suffix in _BINARY else number * Fraction(10) ** power
    if value > _MAX:
        raise ValueError(f"{text!r} is too large: a quantity is at most 2^63-1, which is just under 8Ei")
    return value
