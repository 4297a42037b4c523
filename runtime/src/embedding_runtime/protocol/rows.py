"""Results of texts: dense rows, ragged rows (with a different number of items for each text), or a set of both."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import numpy.typing as npt

__all__ = [
    "RaggedRows",
    "RowSet",
    "Rows",
    "VectorRows",
    "are_finite",
    "as_dense",
    "as_ragged",
    "concatenated",
    "parts_of",
    "together",
    "with_zeros",
]

VectorRows = npt.NDArray[np.float32]
"""Shape (texts, dimensions), or (pairs, labels) for a cross-encoder."""


@dataclass(frozen=True, eq=False)
class RaggedRows:
    """The items of all texts in one array. Slices are views without a copy.

    An item is a token's vector, or one number of a sparse vector, with its index.
    """

    values: npt.NDArray[np.float32]
    """Shape (items, width). The width of a sparse vector's items is 1."""
    lengths: npt.NDArray[np.uint32]
    """The number of items of each text, shape (texts,). A sparse vector may have none."""
    indices: npt.NDArray[np.int32] | None = None
    """Sparse vectors: the dimension of each item, ascending within a text, shape (items,)."""

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.lengths)

    def __getitem__(self, texts: slice) -> "RaggedRows":
        """The texts of a slice without a step."""
        start, stop, _ = texts.indices(len(self))
        items = slice(self._ends[start], self._ends[stop])
        indices = None if self.indices is None else self.indices[items]
        return RaggedRows(self.values[items], self.lengths[start:stop], indices)

    def __iter__(self) -> Iterator["RaggedRows"]:
        """Each text by itself."""
        return (self[text : text + 1] for text in range(len(self)))

    @cached_property
    def _ends(self) -> Sequence[int]:
        """0, then the end of each text."""
        return [0, *itertools.accumulate(self.lengths.tolist())]

    def reordered(self, order: npt.NDArray[np.int64]) -> "RaggedRows":
        """A copy with the texts at these indices, in this order."""
        return cast(RaggedRows, concatenated([self[text : text + 1] for text in order.tolist()]))


@dataclass(frozen=True, eq=False)
class RowSet:
    """Several outputs of the same texts."""

    parts: Sequence[VectorRows | RaggedRows]
    """The rows of each output, in the order of `Output`."""

    def __len__(self) -> int:
        """The number of texts."""
        return len(self.parts[0])

    def __getitem__(self, texts: slice) -> "RowSet":
        """The texts of a slice without a step."""
        return RowSet([part[texts] for part in self.parts])


Rows = VectorRows | RaggedRows | RowSet


def parts_of(rows: Rows) -> Sequence[VectorRows | RaggedRows]:
    """The rows of each output, in the order of `Output`."""
    return rows.parts if isinstance(rows, RowSet) else (rows,)


def together(parts: Sequence[VectorRows | RaggedRows]) -> Rows:
    """The rows of a request for these outputs: a RowSet of several."""
    return parts[0] if len(parts) == 1 else RowSet(parts)


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Concatenate rows of one kind. One part is returned without a copy."""
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, RowSet):
        return RowSet([_concatenated(output) for output in zip(*map(parts_of, parts), strict=True)])
    return _concatenated([part for each in parts for part in parts_of(each)])


def _concatenated(parts: Sequence[VectorRows | RaggedRows]) -> VectorRows | RaggedRows:
    first = parts[0]
    if not isinstance(first, RaggedRows):
        return np.concatenate([as_dense(part) for part in parts])
    ragged = [as_ragged(part) for part in parts]
    indices = None
    if first.indices is not None:
        indices = np.concatenate([part.indices for part in ragged if part.indices is not None])
    values, lengths = (np.concatenate([getattr(part, name) for part in ragged]) for name in ("values", "lengths"))
    return RaggedRows(values, lengths, indices)


def are_finite(rows: Rows) -> npt.NDArray[np.bool_]:
    """Whether all numbers of a text are finite, for each text."""
    if isinstance(rows, RowSet):
        return np.asarray(np.all([are_finite(part) for part in rows.parts], axis=0))
    if not isinstance(rows, RaggedRows):
        finite = np.isfinite(rows)
        # The whole is checked in half of the time, and nearly always finite.
        return np.asarray(np.ones(len(rows)) if finite.all() else finite.all(axis=1), dtype=np.bool_)
    wrong = ~np.isfinite(rows.values).all(axis=1)
    found = np.ones(len(rows), dtype=np.bool_)
    found[np.repeat(np.arange(len(rows)), rows.lengths)[wrong]] = False
    return found


def as_dense(rows: Rows) -> VectorRows:
    """Raises TypeError for other rows."""
    if not isinstance(rows, np.ndarray):
        raise TypeError(f"expected one vector for each text, not {type(rows).__name__}")
    return rows


def as_ragged(rows: Rows) -> RaggedRows:
    """Raises TypeError for other rows."""
    if not isinstance(rows, RaggedRows):
        raise TypeError(f"expected ragged rows, not {type(rows).__name__}")
    return rows


def with_zeros(rows: Rows, dimensions: int) -> VectorRows:
    """Sparse vectors as dense ones, shape (texts, dimensions). Dense rows are returned as they are."""
    if not isinstance(rows, RaggedRows):
        return as_dense(rows)
    found = np.zeros((len(rows), dimensions), dtype=np.float32)
    for vector, text in zip(found, rows, strict=True):
        vector[text.indices] = text.values[:, 0]
    return found
