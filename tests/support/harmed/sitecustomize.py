"""Fault injection for a server of the fake backend: with this on PYTHONPATH, some token ids cause faults.

MiniLM's tokenizer returns these ids for no text.
"""

import os
import time
from collections.abc import Callable, Mapping

import numpy as np

from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import VectorRows, as_dense
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import BatchFailed
from embedding_runtime.worker.backends.fake import FakeBackend

POISON, FATAL, NOT_A_NUMBER = 11, 12, 13


def _poison(rows: VectorRows) -> None:
    raise BatchFailed("IndexError: poison")


def _fatal(rows: VectorRows) -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def _not_a_number(rows: VectorRows) -> None:
    rows[:, 3] = np.nan


_HARM: Mapping[int, Callable[[VectorRows], None]] = {POISON: _poison, FATAL: _fatal, NOT_A_NUMBER: _not_a_number}

_SECONDS_PER_TOKEN = float(os.environ.get("FAKE_SECONDS_PER_TOKEN", "0"))
"""How slow the backend is, without taking anybody's time."""

_unharmed = FakeBackend.embed


def _embed(self: FakeBackend, batch: TokenBatch, output: Output = Output.PER_TEXT) -> VectorRows:
    rows = as_dense(_unharmed(self, batch, output))
    time.sleep(_SECONDS_PER_TOKEN * batch.tokens)
    for place, ids in enumerate(batch):
        for token, harm in _HARM.items():
            if len(ids) == 3 and ids[1] == token:  # not the long text of the warm-up, which has every id
                harm(rows[place : place + 1])
    return rows


FakeBackend.embed = _embed  # type: ignore[method-assign]
