"""A backend itself, as a program: `python backend_vectors.py BACKEND MODEL_DIR...`, texts or pairs as JSON on stdin.

Prints a line of JSON for each model: {"alone": [...], "together": [...]}, or {"refused": "..."}. A process of its own,
as vLLM has to have; many models in one, because its imports take longer than all that they do here.
"""

import json
import sys
from pathlib import Path
from typing import Any

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.main import warm_up

__all__: list[str] = []


def answer(backend: BackendName, directory: Path, texts: list[Any]) -> dict[str, object]:
    try:
        spec = ModelSpec.read(directory)
        tokenizer = TextTokenizer(spec)
        ids = tokenizer.encode(texts) if spec.scores is None else tokenizer.encode_pairs(list(map(tuple, texts)))
        loaded = registry.load(backend, spec, allow_pickle=True)
        warm_up(loaded, spec, backend)
    except Exception as refused:  # noqa: BLE001 vLLM raises what it likes
        return {"refused": repr(refused)}
    alone = [as_dense(loaded.embed(text))[0].tolist() for text in ids.singles()]
    return {"alone": alone, "together": as_dense(loaded.embed(ids)).tolist()}


if __name__ == "__main__":
    name, *directories = sys.argv[1:]
    asked = json.load(sys.stdin)
    for model in directories:
        print(json.dumps(answer(BackendName(name), Path(model), asked)), flush=True)
