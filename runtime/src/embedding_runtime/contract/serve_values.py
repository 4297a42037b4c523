"""Values of the flags of `serve` that are neither a plain number nor a text."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

__all__ = ["AUTO", "Count", "Sizes"]

AUTO: Literal["auto"] = "auto"

MAX_PROCESSES = 64


def _count(given: object) -> object:
    text = str(given)
    if text != AUTO and not (text.isdecimal() and 1 <= int(text) <= MAX_PROCESSES):
        raise ValueError(f"must be auto or a whole number from 1 to {MAX_PROCESSES}")
    return given if text == AUTO else int(text)


Count = Annotated[int | Literal["auto"], BeforeValidator(_count)]
"""A number of processes; auto derives it from the cores and GPUs that the server may use."""

ANY: Literal["any"] = "any"


def _sizes(given: object) -> object:
    """Parse `any`, or whole numbers separated by commas, with or without the brackets of JSON. Raises ValueError."""
    if not isinstance(given, str) or given == ANY:
        return given
    sizes = [size.strip() for size in given.removeprefix("[").removesuffix("]").split(",")]
    if not all(size.isdecimal() and len(size) <= _DIGITS and int(size) for size in sizes):
        raise ValueError("must be any, or positive whole numbers separated by commas, such as 256,512")
    return tuple(sorted(set(map(int, sizes))))


_DIGITS = 9

Sizes = Annotated[tuple[Annotated[int, Field(ge=1)], ...] | Literal["any"], BeforeValidator(_sizes)]
"""Sizes of vectors in ascending order; any: all sizes from 1."""
