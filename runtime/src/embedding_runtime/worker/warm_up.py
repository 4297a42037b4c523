"""Warms up a loaded backend, checks its first vectors, and measures a full batch."""

import logging
import time
from dataclasses import dataclass

import numpy as np

from embedding_runtime.contract import BackendName, Dtype
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import are_finite
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import Backend, BatchFailed
from embedding_runtime.worker.loaded_backend import LoadedBackend

__all__ = ["Speed", "measure", "speed_of", "warm_up"]

_log = logging.getLogger(__name__)

LONG = 2048
"""Maximum tokens of the warm-up input. Some decoders accept 32,768 tokens, which take minutes on a CPU."""

MEASURE_SECONDS = 0.5
"""Maximum duration of a full batch at startup, or MEASURE_SHARE of the loading time if that is more."""

MEASURE_SHARE = 0.1


@dataclass(frozen=True)
class Speed:
    """The measured speed of a full batch."""

    batch_tokens: int
    """Size of the largest batch that the worker should get."""
    tokens_per_second: float


def speed_of(loaded: LoadedBackend, name: BackendName) -> Speed:
    """Warm up and measure a full batch. Raises ModelRefused."""
    begin = time.monotonic()
    warm_up(loaded.backend, loaded.spec, name)
    seconds = loaded.seconds + time.monotonic() - begin
    within = max(MEASURE_SECONDS, MEASURE_SHARE * seconds)
    return measure(loaded.backend, loaded.spec, within=within, on_gpu=loaded.on_gpu)


def warm_up(backend: Backend, spec: ModelSpec, name: BackendName = BackendName.HUGGINGFACE) -> None:
    """Compute a short input and a long one. Raises ModelRefused if the result is not valid vectors."""
    longest = min(spec.max_length, LONG)
    lengths = (min(_shortest(spec), longest), longest)
    # From the middle of the vocabulary, where no padding token is: MBart fails for a text of nothing else.
    probes = [(spec.vocabulary // 2 + np.arange(length, dtype=np.int32)) % spec.vocabulary for length in lengths]
    rows = backend.embed(TokenBatch.of(probes))
    if isinstance(rows, np.ndarray) and rows.shape != (len(probes), spec.dimensions):
        raise ModelRefused(
            f"{spec.directory}: vectors have the shape {rows.shape[1:]}, but its files say {spec.dimensions}"
        )
    if not are_finite(rows).all():
        raise ModelRefused(
            f"{spec.directory} returns NaN or infinity in {spec.dtype} with {name}: {_remedy(spec, name)}"
        )


def _shortest(spec: ModelSpec) -> int:
    """One token, after those that are excluded from pooling: the maximum of no tokens is minus infinity."""
    if spec.include_prompt or not spec.prompt:
        return 1
    (prompt,) = TextTokenizer(spec).encode([""])
    return len(prompt) + 1


def _remedy(spec: ModelSpec, name: BackendName) -> str:
    """What users can do about NaN or infinity."""
    if spec.dtype is not Dtype.FLOAT32:
        return "use --dtype=float32"
    if name is BackendName.VLLM:
        return "use --backend=huggingface, or remove --backend"
    return "the weights are damaged or unusable; download the model again, or use another model"


def measure(backend: Backend, spec: ModelSpec, *, within: float, on_gpu: bool) -> Speed:
    """Measure a full batch, or only one text if a full batch would take longer than `within` seconds.

    On a GPU the batch is computed twice, because the first one allocates and compiles.
    If memory is too small for a full batch, the size is halved until it fits. Raises the error of `embed` for one text.
    """
    probe = np.arange(min(spec.max_length, _PROBE, backend.batch_tokens), dtype=np.int32) % spec.vocabulary
    tokens, speed = backend.batch_tokens, _speed(backend, TokenBatch.of([probe]))
    while len(probe) < tokens <= within * speed:
        try:
            full = TokenBatch.of([probe] * (tokens // len(probe)))
            return Speed(tokens, max(_speed(backend, full) for _ in range(2 if on_gpu else 1)))
        except BatchFailed as failed:
            _log.warning("a batch of %d tokens failed, trying batches of half the size: %s", tokens, failed)
            tokens //= 2
    return Speed(tokens, speed)


_PROBE = 256
"""Tokens of the text that predicts the duration of a full batch."""


def _speed(backend: Backend, batch: TokenBatch) -> float:
    begin = time.perf_counter()
    backend.embed(batch)
    return batch.tokens / (time.perf_counter() - begin)
