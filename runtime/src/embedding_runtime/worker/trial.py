"""One backend, or sentence-transformers, on the texts of `check`. `check` starts it as a program, and reads its JSON.

python -m embedding_runtime.worker.trial FD SHARE FLAGS      a backend, loaded and measured as a worker does
python -m embedding_runtime.worker.trial FD reference FLAGS  sentence-transformers on the CPU, in the files' precision
"""

import json
import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from embedding_runtime.contract import Kind, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import logs
from embedding_runtime.protocol.rows import with_zeros
from embedding_runtime.worker.loaded_backend import choice_of, load
from embedding_runtime.worker.warm_up import speed_of

__all__: list[str] = []

TEXTS = (
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "Ünïcödé ÅΣß — 你好",
    "Storage on Kubernetes: volumes, claims and classes. " * 12,
)


def main(argv: Sequence[str]) -> int:
    """Write a JSON object to the file descriptor FD: {"refused": why}, or the results."""
    result, what, *flags = argv
    args = ServeArgs.from_argv(flags)
    logs.configure(args.log_format, sees_texts=False)
    try:
        found = _reference(args) if what == "reference" else _backend(args, json.loads(what))
    except Exception as error:  # noqa: BLE001 a library may raise anything; `check` prints it
        words = " ".join(str(error).split())
        found = {"refused": words if isinstance(error, ModelRefused) else f"{type(error).__name__}: {words}"}
    with os.fdopen(int(result), "w") as out:
        json.dump(found, out)
    return 0


def _backend(args: ServeArgs, share: dict[str, Any]) -> dict[str, Any]:
    """Raises ModelRefused."""
    loaded = load(args, share)
    speed = speed_of(loaded, choice_of(share).backend)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10  # after a full batch, before the texts
    spec = loaded.spec
    tokenizer = TextTokenizer(spec)
    texts = tokenizer.encode(TEXTS) if spec.scores is None else tokenizer.encode_pairs([(TEXTS[1], t) for t in TEXTS])
    fitting = [(place, text) for place, text in enumerate(texts.singles()) if text.tokens <= spec.max_length]
    return {
        "detail": loaded.backend.detail,
        "seconds": loaded.seconds,
        "batch_tokens": speed.batch_tokens,
        "tokens_per_second": speed.tokens_per_second,
        "peak_bytes": peak,
        "rows": {place: with_zeros(loaded.backend.embed(text), spec.dimensions)[0].tolist() for place, text in fitting},
    }


def _reference(args: ServeArgs) -> dict[str, Any]:
    import sentence_transformers  # noqa: PLC0415 takes seconds, and only this needs it

    spec = ModelSpec.from_args(args)
    classes = {
        Kind.EMBEDDING_MODEL: sentence_transformers.SentenceTransformer,
        Kind.CROSS_ENCODER: sentence_transformers.CrossEncoder,
        Kind.SPARSE_ENCODER: sentence_transformers.SparseEncoder,
    }
    os.environ["HF_HUB_OFFLINE"] = "1"
    model: Any = classes[spec.kind](str(args.model_dir), device="cpu", trust_remote_code=args.trust_remote_code)
    if spec.kind is Kind.CROSS_ENCODER:
        rows = [np.ravel(model.predict([(TEXTS[1], text)], show_progress_bar=False)) for text in TEXTS]
    elif spec.kind is Kind.SPARSE_ENCODER:
        rows = [model.encode([text], convert_to_sparse_tensor=False)[0] for text in TEXTS]
    else:
        rows = [model.encode([text], show_progress_bar=False)[0] for text in TEXTS]
    return {
        "version": sentence_transformers.__version__,
        "rows": [np.asarray(row, np.float64).tolist() for row in rows],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
