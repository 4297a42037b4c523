"""Groups concatenated texts: neighbours of equal length are computed together as a block."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

__all__ = ["Run", "runs_of"]


class Run(NamedTuple):
    """`texts` neighbours with `length` tokens each, at the tokens from `start` to `stop` (exclusive)."""

    start: int
    stop: int
    texts: int
    length: int


def runs_of(lengths: Sequence[int]) -> Iterator[Run]:
    """The runs of texts with these lengths, in order."""
    start = 0
    for length, neighbours in groupby(lengths):
        texts = len(list(neighbours))
        yield Run(start, start + length * texts, texts, length)
        start += length * texts
