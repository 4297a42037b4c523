"""Measures the bound of the linear layers: `python -m bench.bound MODEL_DIR DTYPE` prints GFLOP/s by library as JSON.

It times matrix products alone, without bias, at the shapes of the model's linear layers. On a CPU for 2,048 tokens:
MKL through torch's `linear`, and oneDNN through the operator that torch.compile uses. On a GPU for 16,384: cuBLAS.
"""

import collections
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from bench.systems import DEVICE

__all__: list[str] = []

_REPETITIONS = 15

_Multiply = Callable[[Tensor, Tensor], object]

_ON_CPU: Mapping[str, _Multiply] = {
    "MKL": nn.functional.linear,
    "oneDNN": lambda tokens, weight: torch.ops.mkldnn._linear_pointwise(tokens, weight, None, "none", [], "none"),  # noqa: SLF001
}


def _on_gpu(tokens: Tensor, weight: Tensor) -> None:
    nn.functional.linear(tokens, weight)
    torch.cuda.synchronize()


def _seconds(multiply: _Multiply, tokens: Tensor, weight: Tensor) -> float:
    """The median of several repetitions after a warm-up of two."""
    took = []
    for _ in range(_REPETITIONS + 2):
        begin = time.perf_counter()
        multiply(tokens, weight)
        took.append(time.perf_counter() - begin)
    return statistics.median(took[2:])


@torch.inference_mode()
def _main(model_dir: str, dtype: torch.dtype) -> None:
    libraries, amount = (_ON_CPU, 2048) if DEVICE == "cpu" else ({"cuBLAS": _on_gpu}, 16_384)
    weights = load_file(Path(model_dir) / "model.safetensors")
    matrices = [weight for name, weight in weights.items() if name.startswith("encoder.") and weight.ndim > 1]
    layers = [(weight.shape[0], weight.shape[1]) for weight in matrices]
    flop_per_token = 2 * sum(rows * columns for rows, columns in layers)
    gflops = {}
    for library, multiply in libraries.items():
        total = 0.0
        for (rows, columns), count in collections.Counter(layers).items():
            tokens, weight = (torch.randn(n, columns, dtype=dtype, device=DEVICE) for n in (amount, rows))
            total += count * _seconds(multiply, tokens, weight)
        gflops[library] = flop_per_token * amount / total / 1e9
    print(json.dumps({"gflops": gflops, "flop_per_token": flop_per_token, "tokens": amount}))


if __name__ == "__main__":
    _main(sys.argv[1], getattr(torch, sys.argv[2]))
