"""One request in the scheduler."""

import asyncio
import time
from dataclasses import dataclass, field

from embedding_runtime.errors import RuntimeFault, VectorNotFinite
from embedding_runtime.protocol.requests import Lane, Output
from embedding_runtime.protocol.rows import Rows, are_finite, concatenated
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Job"]


@dataclass(eq=False)
class Job:
    """A submitted request: its texts, the rows computed so far, and the future of the result."""

    texts: TokenBatch
    lane: Lane
    done: asyncio.Future[Rows]
    missing: int
    output: Output = Output.PER_TEXT
    rows: dict[int, Rows] = field(default_factory=dict)
    """Rows by the index of their first text. Halves of a failed batch complete after later batches."""
    joined: float = field(default_factory=time.monotonic)
    queued: float | None = None
    """Seconds in the queue until its first batch; None before that."""
    lost_workers: int = 0
    """Number of workers that crashed while they computed its texts."""

    def take(self, start: int, rows: Rows) -> None:
        """Add the rows of the texts from `start` on. Ignored if the request has failed meanwhile."""
        if self.done.done():
            return
        finite = are_finite(rows)
        if not finite.all():
            self.fail(VectorNotFinite(index=start + int(finite.argmin())))
            return
        self.missing -= len(rows)
        self.rows[start] = rows
        if not self.missing:
            self.done.set_result(concatenated([self.rows[place] for place in sorted(self.rows)]))

    def fail(self, fault: RuntimeFault) -> None:
        """Fail the request, unless it already has a result."""
        if not self.done.done():
            self.done.set_exception(fault)
