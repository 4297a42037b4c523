"""The Hugging Face backend alone, without a server: `python -m bench.in_process MODEL_DIR DTYPE SECONDS`.

Prints mixed tokens/s, token ids to float32 rows, as JSON: what a server could give at most.
"""

import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from bench.inputs import inputs_for
from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.base import Backend, Launched
from embedding_runtime.worker.computing import MOST_LAUNCHED

__all__: list[str] = []


def _main(model_dir: str, dtype: str, seconds: float) -> None:
    flags = [f"--model_dir={model_dir}", "--model_name=m", "--backend=huggingface", f"--dtype={dtype}"]
    spec = ModelSpec.from_args(ServeArgs.from_argv(flags))
    backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    texts = inputs_for(Path(model_dir), Path(), 0, 0, dtype).workloads["mixed"].texts
    ids = TextTokenizer(spec).encode(texts)
    batches: list[TokenBatch] = []
    start = 0
    for stop in range(1, len(ids) + 1):
        if stop == len(ids) or ids.part(start, stop + 1).tokens > backend.batch_tokens:
            batches.append(ids.part(start, stop))
            start = stop
    for batch in batches:
        backend.embed(batch)
    tokens, begin = 0, time.monotonic()
    while time.monotonic() < begin + seconds:
        _compute(backend, batches)
        tokens += sum(batch.tokens for batch in batches)
    print(json.dumps({"tokens_per_second": tokens / (time.monotonic() - begin)}))


def _compute(backend: Backend, batches: Sequence[TokenBatch]) -> None:
    """As a worker does: on a GPU, the next batch is launched before the rows of one are waited for."""
    if backend.launch is None:
        for batch in batches:
            backend.embed(batch)
        return
    launched: deque[Launched] = deque()
    for batch in batches:
        launched.append(backend.launch(batch, Output.PER_TEXT))
        if len(launched) == MOST_LAUNCHED:
            launched.popleft().rows()
    while launched:
        launched.popleft().rows()


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
