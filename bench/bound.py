"""What the linear layers allow on this machine: `python -m bench.bound MODEL_DIR`, GFLOP/s by library as JSON.

Matrix products only, in float32 and without bias, at the shapes of the model's own linear layers, for 2,048 tokens:
MKL by torch's `linear`, and oneDNN by the operator that torch.compile puts in its place.
"""

import collections
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from transformers import AutoModel

__all__: list[str] = []

_TOKENS = 2048
_REPETITIONS = 15

_LIBRARIES: Mapping[str, Callable[[Tensor, Tensor], object]] = {
    "MKL": nn.functional.linear,
    "oneDNN": lambda tokens, weight: torch.ops.mkldnn._linear_pointwise(tokens, weight, None, "none", [], "none"),  # noqa: SLF001
}


def _seconds(multiply: Callable[[Tensor, Tensor], object], tokens: Tensor, weight: Tensor) -> float:
    """The median of several, after two to warm up."""
    took = []
    for _ in range(_REPETITIONS + 2):
        begin = time.perf_counter()
        multiply(tokens, weight)
        took.append(time.perf_counter() - begin)
    return statistics.median(took[2:])


@torch.inference_mode()
def _main(model_dir: str) -> None:
    model = AutoModel.from_pretrained(model_dir, dtype=torch.float32)
    layers = [
        (layer.out_features, layer.in_features)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear) and not name.startswith("pooler")  # sentence-transformers does not run it
    ]
    flop_per_token = 2 * sum(rows * columns for rows, columns in layers)
    gflops = {}
    for library, multiply in _LIBRARIES.items():
        total = 0.0
        for (rows, columns), count in collections.Counter(layers).items():
            total += count * _seconds(multiply, torch.randn(_TOKENS, columns), torch.randn(rows, columns))
        gflops[library] = flop_per_token * _TOKENS / total / 1e9
    print(json.dumps({"gflops": gflops, "flop_per_token": flop_per_token}))


if __name__ == "__main__":
    _main(sys.argv[1])
