"""Measurement of the worker's speed at startup."""

import pytest

from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import VectorRows, as_dense
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import BatchFailed
from embedding_runtime.worker.backends.fake import FakeBackend
from embedding_runtime.worker.warm_up import Speed, measure
from support.services import MINILM


class TimedBackend(FakeBackend):
    """Computes so many tokens a second by a clock of its own, and has memory for so many at once."""

    def __init__(self, per_second: float, *, memory: int = 1 << 20) -> None:
        super().__init__(MINILM)
        self.now, self.batches = 0.0, list[int]()
        self._per_second, self._memory = per_second, memory

    def embed(self, batch: TokenBatch, output: Output = Output.PER_TEXT) -> VectorRows:
        tokens = batch.tokens
        self.batches.append(tokens)
        if tokens > self._memory:
            raise BatchFailed("OutOfMemoryError")
        self.now += tokens / self._per_second
        return as_dense(super().embed(batch, output))


def measured(backend: TimedBackend, monkeypatch: pytest.MonkeyPatch, *, on_gpu: bool = False) -> Speed:
    monkeypatch.setattr("time.perf_counter", lambda: backend.now)
    return measure(backend, MINILM, within=0.5, on_gpu=on_gpu)


def test_the_speed_is_measured_with_a_full_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TimedBackend(8000)
    speed = measured(backend, monkeypatch)
    assert speed.batch_tokens == 2048
    assert speed.tokens_per_second == pytest.approx(8000)
    assert backend.batches == [256, 2048]


def test_the_full_batch_is_measured_warm_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TimedBackend(8000)
    measured(backend, monkeypatch, on_gpu=True)
    assert backend.batches == [256, 2048, 2048]


def test_if_a_full_batch_is_slow_the_speed_is_measured_with_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TimedBackend(100)
    speed = measured(backend, monkeypatch)
    assert speed.batch_tokens == 2048
    assert speed.tokens_per_second == pytest.approx(100)
    assert backend.batches == [256]


def test_batches_are_smaller_if_a_full_one_exceeds_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = TimedBackend(8000, memory=600)
    assert measured(backend, monkeypatch).batch_tokens == 512
    assert backend.batches == [256, 2048, 1024, 512]
