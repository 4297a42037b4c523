"""Ragged rows on a device, and their asynchronous copy to the host."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from embedding_runtime.protocol.rows import RaggedRows
from embedding_runtime.worker.backends.device import HostCopy

__all__ = ["RaggedCopy", "RaggedTensors", "RowsCopy"]


class RowsCopy(Protocol):
    """An asynchronous copy of rows to the host: a HostCopy or a RaggedCopy."""

    def is_done(self) -> bool:
        """Whether `wait` returns immediately."""
        ...

    def wait(self) -> Any:
        """Wait for the copy, and return the rows: an array or RaggedRows."""
        ...


class RaggedTensors(NamedTuple):
    """See RaggedRows, which has the same fields."""

    values: Tensor
    lengths: Sequence[int]
    indices: Tensor | None = None


class RaggedCopy:
    """A HostCopy of ragged rows."""

    def __init__(self, rows: RaggedTensors) -> None:
        self._lengths = np.array(rows.lengths, dtype=np.uint32)
        self._indices = None if rows.indices is None else HostCopy(rows.indices)
        self._values = HostCopy(rows.values)  # the last copy that is started
        self.is_done = self._values.is_done

    def wait(self) -> RaggedRows:
        """See HostCopy."""
        values = self._values.wait()
        return RaggedRows(values, self._lengths, None if self._indices is None else self._indices.wait())
