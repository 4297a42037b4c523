"""Token ids of several texts in one buffer, from the tokenizer to the backend."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["TokenBatch", "TokenIds", "TokenTypes"]

TokenIds = npt.NDArray[np.int32]
"""Shape (tokens,)."""

TokenTypes = npt.NDArray[np.uint8]
"""Shape (tokens,). For a pair of texts, usually 0 for tokens of the first and 1 for those of the second."""


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Token ids of texts, or of pairs of texts, concatenated to one array. Parts are views without a copy."""

    ids: TokenIds
    """The ids of all texts."""
    lengths: npt.NDArray[np.uint32]
    """The number of tokens of each text, shape (texts,)."""
    types: TokenTypes | None = None
    """The types of all tokens; None if there are none or all are 0."""

    @classmethod
    def of(cls, texts: Sequence[TokenIds], types: Sequence[TokenTypes] | None = None) -> Self:
        """Concatenate the ids and types of texts."""
        lengths = np.array([len(text) for text in texts], dtype=np.uint32)
        if len(texts) == 1:
            return cls(texts[0], lengths, None if types is None else types[0])
        ids = np.concatenate(texts) if texts else np.empty(0, np.int32)
        return cls(ids, lengths, np.concatenate(types) if types else None)

    @classmethod
    def joined(cls, batches: Sequence["TokenBatch"]) -> "TokenBatch":
        """Concatenate one or more batches."""
        if len(batches) == 1:
            return batches[0]
        types = None
        if any(batch.types is not None for batch in batches):
            types = np.concatenate(
                [np.zeros(batch.tokens, np.uint8) if batch.types is None else batch.types for batch in batches]
            )
        ids, lengths = (np.concatenate([getattr(batch, name) for batch in batches]) for name in ("ids", "lengths"))
        return cls(ids, lengths, types)

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.lengths)

    def __iter__(self) -> Iterator[TokenIds]:
        """The ids of each text."""
        return (self.ids[start:stop] for start, stop in itertools.pairwise(self.places))

    @property
    def tokens(self) -> int:
        """The number of tokens of all texts."""
        return len(self.ids)

    @cached_property
    def places(self) -> Sequence[int]:
        """0, then the end of each text in `ids`."""
        return [0, *itertools.accumulate(self.lengths.tolist())]

    def part(self, start: int, stop: int) -> "TokenBatch":
        """The texts from `start` to `stop` (exclusive)."""
        if start == 0 and stop == len(self):
            return self
        tokens = slice(self.places[start], self.places[stop])
        types = None if self.types is None else self.types[tokens]
        return TokenBatch(self.ids[tokens], self.lengths[start:stop], types)

    def singles(self) -> Iterable["TokenBatch"]:
        """Each text as a batch of its own."""
        return (self.part(place, place + 1) for place in range(len(self)))

    def reordered(self, order: npt.NDArray[np.int64]) -> "TokenBatch":
        """A copy with the texts at these indices, in this order."""
        lengths = self.lengths[order]
        ends = np.cumsum(lengths, dtype=np.int64)
        starts = np.asarray(self.places[:-1], dtype=np.int64)[order]
        tokens = np.arange(ends[-1]) + np.repeat(starts - (ends - lengths), lengths)
        return TokenBatch(self.ids[tokens], lengths, None if self.types is None else self.types[tokens])
