"""Batches: from the queue to the workers, and their rows back to the requests."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence

from embedding_runtime.errors import BackendFailed, RuntimeFault, TextFailed
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import Failed, Vectors
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.admission import Rate
from embedding_runtime.scheduler.dispatch import MIN_CONCURRENT_TOKENS, BatchPlan, next_dispatch
from embedding_runtime.scheduler.job import Job
from embedding_runtime.scheduler.parts import Part
from embedding_runtime.scheduler.queue import RequestQueue
from embedding_runtime.scheduler.worker_link import Batch, WorkerLink

__all__ = ["Batches"]

_log = logging.getLogger(__name__)

SHORT_BATCH_SECONDS = 0.05
"""Batches that take longer are not prefetched: a text that arrives then would wait for two of them.

Without prefetching a worker waits a millisecond for its next batch.
"""


class Batches:
    """All batches that workers compute. Use it on one event loop only."""

    def __init__(
        self,
        queue: RequestQueue[Job],
        workers: Callable[[], Sequence[WorkerLink[Job]]],
        rate: Rate,
        metrics: Metrics,
    ) -> None:
        """`workers`: those that are ready. `rate`: updated with each batch."""
        self._queue, self._workers, self._rate, self._metrics = queue, workers, rate, metrics
        self._numbers = itertools.count()

    def dispatch(self) -> None:
        """Send batches to the workers, as long as they have room and texts are queued."""
        while (
            self._queue.texts
            and (ready := [worker for worker in self._workers() if worker.has_room])
            and (plan := self._plan(ready))
            and (parts := self._next(plan))
        ):
            texts = TokenBatch.joined([part.owner.texts.part(part.start, part.stop) for part in parts])
            batch = Batch(parts, texts.tokens, plan.exclusive, time.monotonic())
            ready[plan.worker].give(next(self._numbers), batch, texts, parts[0].owner.output)
            for job in (part.owner for part in parts if part.owner.queued is None):
                job.queued = batch.sent - job.joined
                self._metrics.queued(job.lane, job.queued)

    def _next(self, plan: BatchPlan) -> Sequence[Part[Job]]:
        """Take a batch. If batches are long, those with interactive texts are a quarter smaller, to finish earlier."""
        mixed = None if self._has_short_batches else max(MIN_CONCURRENT_TOKENS, plan.tokens * 3 // 4)
        return self._queue.next_batch(plan.tokens, mixed=mixed)

    @property
    def _has_short_batches(self) -> bool:
        rate = self._rate.per_second
        return rate is None or self._rate.full < SHORT_BATCH_SECONDS * rate

    def _plan(self, workers: Sequence[WorkerLink[Job]]) -> BatchPlan | None:
        return next_dispatch(
            self._queue.tokens,
            self._queue.texts,
            [worker.load for worker in workers],
            prefetch=self._has_short_batches,
        )

    def answered(self, worker: WorkerLink[Job], answer: Vectors | Failed) -> None:
        """See BatchReceiver."""
        if isinstance(answer, Vectors):
            self._deliver(self._complete(worker, answer), answer.rows)
        else:
            batch, _ = worker.complete(answer)
            self._retry(batch.parts)
        self.dispatch()

    def lost(self, batches: Sequence[Batch[Job]]) -> None:
        """See BatchReceiver. The batches are retried once, in halves, since they may have caused the crash."""
        self._metrics.worker_restarted()
        for job in {part.owner for batch in batches for part in batch.parts}:
            job.lost_workers += 1
            if job.lost_workers > 1:
                self._give_up(job, BackendFailed("two workers crashed while they computed this request"))
        for batch in batches:
            self._queue.retry([part for part in batch.parts if not part.owner.done.done()])
        self.dispatch()

    def _complete(self, worker: WorkerLink[Job], answer: Vectors) -> Batch[Job]:
        if len(answer.rows) != (texts := worker.under_way[answer.batch].texts):
            raise ValueError(f"{len(answer.rows)} rows for a batch of {texts} texts")  # the worker still has the batch
        batch, busy = worker.complete(answer)
        self._rate.observe(batch.tokens, busy)
        self._metrics.batch(
            texts=batch.texts,
            tokens=batch.tokens,
            padding=answer.padding,
            exclusive=batch.exclusive,
            seconds=busy if batch.exclusive else time.monotonic() - batch.sent,
        )
        return batch

    def _deliver(self, batch: Batch[Job], rows: Rows) -> None:
        first = 0
        for part in batch.parts:
            after = first + part.texts
            part.owner.take(part.start, rows[first:after])
            first = after

    def _retry(self, parts: Sequence[Part[Job]]) -> None:
        """Retry a failed batch in halves, until the text that causes the failure is alone."""
        if len(parts) == 1 and parts[0].texts == 1:
            self._give_up(parts[0].owner, TextFailed(index=parts[0].start))
        else:
            self._queue.retry([part for part in parts if not part.owner.done.done()])

    def _give_up(self, job: Job, fault: RuntimeFault) -> None:
        _log.warning("a request failed: %s", fault)
        job.fail(fault)
