"""The process that measures `encode` of sentence-transformers.

Started as `python -m bench.encoder MODEL_DIR WORKLOADS.json DTYPE`.

Prints lines of JSON: first `{"ready": true}`; then, for each line `WORKLOAD BATCH SECONDS` on stdin, the measurement.
For the line `reference` it prints the vectors of the first 64 mixed texts.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer

from bench.processes import busy_seconds
from bench.systems import DEVICE

__all__: list[str] = []


def _several(encode: Callable[..., Any], texts: list[str], batch: int, seconds: float) -> Iterator[int]:
    """Encodes all texts repeatedly for `seconds`; `encode` sorts them by length. Yields the places of the texts."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        encode(texts, batch_size=batch)
        yield from range(len(texts))


def _alone(encode: Callable[..., Any], texts: list[str], took: list[float], seconds: float) -> Iterator[int]:
    """Encodes one text after the other for `seconds`. Yields their places and adds their seconds to `took`."""
    end = time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        encode(texts[len(took) % len(texts)])
        yield len(took) % len(texts)
        took.append(time.monotonic() - begin)


def _measured(encode: Callable[..., Any], texts: list[str], batch: int, seconds: float) -> dict[str, object]:
    """The texts that were encoded, the seconds, and the CPU-seconds of this process and of others on these cores."""
    encode(texts[: 2 * batch], batch_size=batch)
    took: list[float] = []
    begin, cpu, busy = time.monotonic(), time.process_time(), busy_seconds()
    encoded = list(_alone(encode, texts, took, seconds) if batch == 1 else _several(encode, texts, batch, seconds))
    own = time.process_time() - cpu
    others = busy_seconds() - busy - own
    return {"seconds": time.monotonic() - begin, "cpu": own, "others": others, "texts": encoded, "took": took}


def _main(model_dir: str, workloads: Path, dtype: str) -> None:
    texts: dict[str, list[str]] = json.loads(workloads.read_text())
    model = SentenceTransformer(model_dir, device=DEVICE, model_kwargs={"dtype": dtype})
    model.encode(texts["short"][0])
    _print({"ready": True})
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "reference":
            _print({"vectors": model.encode(texts["mixed"][:64]).tolist()})
            continue
        _print(_measured(model.encode, texts[name], int(numbers[0]), float(numbers[1])))


def _print(record: dict[str, object]) -> None:
    print(json.dumps(record), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
