"""sentence-transformers' own `encode`, in a process of its own.

Started as `python -m bench.encoder MODEL_DIR WORKLOADS.json DTYPE`.

Says how it stands in lines of JSON: first `{"ready": true}`; then, for each line `WORKLOAD BATCH SECONDS` it is given,
what it measured. `reference` is answered with the vectors of the first 64 mixed texts.
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
    """Whole passes over all texts, until the seconds have gone by; encode sorts them by length first."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        encode(texts, batch_size=batch)
        yield from range(len(texts))


def _alone(encode: Callable[..., Any], texts: list[str], took: list[float], seconds: float) -> Iterator[int]:
    """One text after the other; adds each one's seconds to `took`."""
    end = time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        encode(texts[len(took) % len(texts)])
        yield len(took) % len(texts)
        took.append(time.monotonic() - begin)


def _measured(encode: Callable[..., Any], texts: list[str], batch: int, seconds: float) -> dict[str, object]:
    """Which texts were encoded, in how many seconds and CPU-seconds, our own and all others' on these cores."""
    encode(texts[: 2 * batch], batch_size=batch)
    took: list[float] = []
    begin, cpu, busy = time.monotonic(), time.process_time(), busy_seconds()
    asked = list(_alone(encode, texts, took, seconds) if batch == 1 else _several(encode, texts, batch, seconds))
    own = time.process_time() - cpu
    others = busy_seconds() - busy - own
    return {"seconds": time.monotonic() - begin, "cpu": own, "others": others, "texts": asked, "took": took}


def _main(model_dir: str, workloads: Path, dtype: str) -> None:
    texts: dict[str, list[str]] = json.loads(workloads.read_text())
    model = SentenceTransformer(model_dir, device=DEVICE, model_kwargs={"dtype": dtype})
    model.encode(texts["short"][0])
    _say({"ready": True})
    for line in sys.stdin:
        name, *numbers = line.split()
        if name == "reference":
            _say({"vectors": model.encode(texts["mixed"][:64]).tolist()})
            continue
        _say(_measured(model.encode, texts[name], int(numbers[0]), float(numbers[1])))


def _say(words: dict[str, object]) -> None:
    print(json.dumps(words), flush=True)


if __name__ == "__main__":
    _main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
