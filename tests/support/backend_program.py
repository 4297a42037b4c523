"""A backend itself, as a program: `python backend_program.py BACKEND`, a line of JSON for each model on stdin.

[directory, texts or pairs] -> {"alone": [...], "together": [...]}, or {"refused": "..."}; in both `reusable`, whether
the process can be asked about other models: vLLM leaves parts of itself behind when it fails, and changes classes of a
model's own code. A process of its own, as vLLM has to have; many models in one, because its imports take longer than
all that they do here.
"""

import gc
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import with_zeros
from embedding_runtime.remote_code import CODE_DIR
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.warm_up import warm_up

__all__: list[str] = []


def answer(backend: BackendName, directory: Path, texts: list[Any]) -> dict[str, object]:
    """As the worker loads a model."""
    try:
        trusted = (directory / CODE_DIR).is_dir()
        args = ServeArgs(model_name="it", model_dir=directory, backend=backend, trust_remote_code=trusted)
        spec = ModelSpec.from_args(args)
        scratch = directory.with_name(f"{directory.name}-{backend}")
        spec = replace(spec, converted_tokenizer=scratch / "tokenizer.json")
        loaded = registry.load(backend, spec, allow_pickle=False)
        warm_up(loaded, spec, backend)
        tokenizer = TextTokenizer(spec)
        ids = tokenizer.encode(texts) if spec.scores is None else tokenizer.encode_pairs(list(map(tuple, texts)))
        alone = [with_zeros(loaded.embed(text), spec.dimensions)[0].tolist() for text in ids.singles()]
        return {"alone": alone, "together": with_zeros(loaded.embed(ids), spec.dimensions).tolist()}
    except Exception as refused:  # noqa: BLE001 vLLM raises what it likes
        said = str(refused) if isinstance(refused, ModelRefused) else f"{backend} failed: {refused!r}"
        return {"refused": " ".join(said.split())}


def main(backend: BackendName) -> None:
    """Answer until stdin ends."""
    for line in sys.stdin:
        model, texts = json.loads(line)
        found = answer(backend, Path(model), texts)
        spoiled = "vllm" in sys.modules and ("refused" in found or (Path(model) / CODE_DIR).is_dir())
        print(json.dumps({**found, "reusable": not spoiled}), flush=True)
        gc.collect()


if __name__ == "__main__":
    main(BackendName(sys.argv[1]))
