"""One request in the scheduler."""

import asyncio
import time
from dataclasses import dataclass, field

import numpy as np

from embedding_runtime.errors import RuntimeFault, VectorNotFinite
from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.requests import Lane
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Job"]


@dataclass(eq=False)
class Job:
    """One request: its texts, the rows that have come back so far, and the future of all of them."""

    texts: TokenBatch
    lane: Lane
    done: asyncio.Future[VectorRows]
    missing: int
    rows: dict[int, VectorRows] = field(default_factory=dict)
    """By the index of their first text; halves of a batch that failed come back after later batches."""
    joined: float = field(default_factory=time.monotonic)
    queued: float | None = None
    """Seconds in the queue until its first batch; None while it has none."""
    lost_workers: int = 0
    """Workers that were lost while they computed texts of it."""

    def take(self, start: int, rows: VectorRows) -> None:
        """Rows for the texts from `start` on; nothing where the request has failed meanwhile."""
        if self.done.done():
            return
        if not np.isfinite(rows).all():
            wrong = ~np.isfinite(rows).all(axis=1)
            self.fail(VectorNotFinite(index=start + int(wrong.argmax())))
            return
        self.missing -= len(rows)
        self.rows[start] = rows
        if not self.missing:
            whole = len(self.rows) == 1
            self.done.set_result(rows if whole else np.concatenate([self.rows[place] for place in sorted(self.rows)]))

    def fail(self, fault: RuntimeFault) -> None:
        """The first result stays."""
        if not self.done.done():
            self.done.set_exception(fault)
