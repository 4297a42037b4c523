"""sentence-transformers' own `encode`, in a process of its own: `python -m bench.encoder MODEL_DIR WORKLOADS.json`.

Says how it stands in lines of JSON: first `{"ready": true}`; then, for each line `WORKLOAD BATCH SECONDS` it is given,
what it measured. `reference` is answered with the vectors of the first 64 mixed texts.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

__all__: list[str] = []


def _several(encode: Callable[..., Any], texts: list[str], batch: int, seconds: float) -> dict[str, object]:
    """Whole passes over all texts, until the seconds have gone by; encode sorts them by length first."""
    encode(texts[: 2 * batch], batch_size=batch)
    begin, cpu, passes = time.monotonic(), time.process_time(), 0
    while time.monotonic() - begin < seconds:
        encode(texts, batch_size=batch)
        passes += 1
    asked = list(range(len(texts))) * passes
    return {"seconds": time.monotonic() - begin, "cpu": time.process_time() - cpu, "texts": asked}


def _alone(encode: Callable[..., Any], texts: list[str], seconds: float) -> dict[str, object]:
    """One text after the other. `took` has each one's seconds."""
    for text in texts[:16]:
        encode(text)
    begin, cpu, took = time.monotonic(), time.process_time(), list[float]()
    while (start := time.monotonic()) - begin < seconds:
        encode(texts[len(took) % len(texts)])
        took.append(time.monotonic() - start)
    asked = [turn % len(texts) for turn in range(len(took))]
    return {"seconds": time.monotonic() - begin, "cpu": time.process_time() - cpu, "texts": asked, "took": took}


def _main(model_dir: str, workloads: Path) -> None:
    texts: dict[str, list[str]] = json.loads(workloads.read_text())
    model = SentenceTransformer(model_dir, device="cpu")
    model.encode(texts["short"][0])
    _say({"ready": True})
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "reference":
            _say({"vectors": model.encode(texts["mixed"][:64]).tolist()})
            continue
        batch, seconds = int(numbers[0]), float(numbers[1])
        if batch == 1:
            _say(_alone(model.encode, texts[name], seconds))
        else:
            _say(_several(model.encode, texts[name], batch, seconds))


def _say(words: dict[str, object]) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]))
