"""Kubernetes' amounts, by value: "1000m" is "1", 1024Mi is 1Gi."""

import re
from fractions import Fraction

__all__ = ["amount"]

_FORM = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?)(?:(?P<suffix>[numkMGTPE]|[KMGTPE]i)|[eE](?P<exponent>[+-]?[0-9]+))?"
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_LONGEST_EXPONENT = 18  # Kubernetes' own numbers end there


def amount(text: str) -> Fraction:
    """The number. Raises ValueError."""
    match = _FORM.fullmatch(text)
    if match is None or abs(int(match["exponent"] or 0)) > _LONGEST_EXPONENT:
        raise ValueError(f"{text!r} is not an amount: write a number with a suffix, such as 500m or 2Gi")
    number, suffix = Fraction(match["number"]), match["suffix"]
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    power = _DECIMAL[suffix] if suffix else int(match["exponent"] or 0)
    return number * Fraction(10) ** power
