"""Linear layers in bfloat16 and int8 on CPUs. All other operators stay in float32.

Products take 90% of the time, and the other operators are as fast in float32. See docs/performance.md for measurements
and the libraries that were compared.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import ModelRefused, ModelSpec

__all__ = [
    "Bfloat16Linear",
    "Int8Linear",
    "LinearLayer",
    "MakeLinear",
    "Precision",
    "precision_of",
]

_log = logging.getLogger(__name__)


class LinearLayer(Protocol):
    """A linear layer whose inputs and outputs are float32."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(tokens, inputs) -> (tokens, outputs), with bias and activation."""
        ...

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """Return `beside` + the layer's result, for a residual connection."""
        ...


MakeLinear = Callable[[Tensor, Tensor | None, str], nn.Module]
"""Weight (outputs, inputs), bias, activation (none or gelu) -> a LinearLayer."""


@dataclass(frozen=True)
class Precision:
    """A precision that flags select."""

    name: str
    make: MakeLinear | None = None
    """Creates linear layers; None: use those of the model's own code."""
    finish: Callable[[], None] = lambda: None
    """Call it after the layers have computed a few texts, for calibration."""


def precision_of(spec: ModelSpec) -> Precision:
    """Return the precision that the flags select. Raises ModelRefused if the CPU does not support it."""
    if spec.quantize is Quantization.INT8:
        if not _cpu_has("avx512_vnni", "avx_vnni", "amx_int8"):
            raise ModelRefused(
                "--quantize=int8 needs a CPU with VNNI instructions (avx512_vnni, avx_vnni or amx_int8), which this "
                "one lacks: remove the flag"
            )
        return _int8()
    if spec.dtype is Dtype.BFLOAT16:
        if _cpu_has("avx512_bf16", "amx_bf16"):
            return Precision(spec.dtype.value, Bfloat16Linear)
        _log.warning(
            "--dtype=bfloat16 is slower than float32 on this CPU, which has neither avx512_bf16 nor amx_bf16: "
            "use --dtype=float32"
        )
    return Precision(spec.dtype.value)


def _int8() -> Precision:
    layers: list[Int8Linear] = []

    def make(weight: Tensor, bias: Tensor | None, activation: str) -> Int8Linear:
        layers.append(Int8Linear(weight, bias, activation))
        return layers[-1]

    def finish() -> None:
        for layer in layers:
            layer.quantize()

    return Precision(Quantization.INT8.value, make, finish)


def _cpu_has(*names: str) -> bool:
    found = torch.cpu.get_capabilities()
    return torch.backends.mkldnn.is_available() and any(found.get(name) for name in names)  # type: ignore[no-untyped-call]


class Bfloat16Linear(nn.Module):
    """Inputs and weights in bfloat16, sums in float32 (oneDNN), rounded to bfloat16 once."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        super().__init__()
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().bfloat16(), None)  # noqa: SLF001
        self.bias = None if bias is None else bias.detach().bfloat16()
        self._activation = activation
        self._multiply = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001

    def forward(self, tokens: Tensor) -> Tensor:
        """See LinearLayer."""
        return self._narrow(tokens).float()

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """See LinearLayer."""
        return beside + self._narrow(tokens)

    def _narrow(self, tokens: Tensor) -> Tensor:
        result: Tensor = self._multiply(tokens.bfloat16(), self.weight, self.bias, self._activation, [], "none")
        return result


class Int8Linear(nn.Module):
    """Dynamic quantization: int8 weights with a scale per output, 8-bit inputs with a scale per token.

    A scale per batch would save an operator, but a vector would then depend on the other texts of the batch. Products
    are summed in int32 (oneDNN) and do not depend on the batch.

    In BERT a few features of a token are many times as large as the others, which would get few of the 256 steps.
    SmoothQuant (Xiao et al., 2022) divides features, and multiplies their weights, by factors that balance both. The
    ranges of features are recorded in float32 until `quantize`. GELU's outputs are hardly ever below zero, so their
    steps start at GELU's minimum.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        super().__init__()
        self.weight = weight.detach()
        self.bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
        self._gelu_after = activation == "gelu"
        self._least, self._reach = weight.new_zeros(()), weight.new_zeros(weight.shape[1])
        self._is_quantized = self._is_shifted = False
        self._multiply = torch.ops.onednn.qlinear_pointwise.default

    def quantize(self) -> None:
        """Switch to int8, calibrated with the previous inputs. Without any, stay in float32."""
        if not self._reach.any():
            return
        self._is_shifted = bool(0 > self._least >= -_GELU_LEAST)
        weight = self.weight
        if self._is_shifted:
            self.bias = self.bias - _GELU_LEAST * weight.sum(1)
        else:
            even = (self._reach.clamp_min(_SMALL) / weight.abs().amax(0).clamp_min(_SMALL)).sqrt()
            weight, self._even = weight * even, 1 / even
        self._scales = weight.abs().amax(1).clamp_min(_SMALL) / _SIGNED
        whole = (weight / self._scales[:, None]).round_().to(torch.int8)
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self._is_quantized = True

    def forward(self, tokens: Tensor) -> Tensor:
        """See LinearLayer."""
        result = self._product(tokens)
        return gelu(result) if self._gelu_after else result

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """See LinearLayer."""
        return self._product(tokens).add_(beside)

    def _product(self, tokens: Tensor) -> Tensor:
        if not self._is_quantized:
            self._least = torch.minimum(self._least, tokens.amin())
            self._reach = torch.maximum(self._reach, tokens.abs().amax(0))
            return linear(tokens, self.weight, self.bias)
        if self._is_shifted:
            zero, scales = 0, tokens.amax(1, keepdim=True).add_(_GELU_LEAST).div_(_UNSIGNED)
            # A number below GELU's minimum would wrap around.
            steps = (tokens / scales).add_(_GELU_LEAST / scales - _MIDDLE).clamp_min_(-_MIDDLE)
        else:
            tokens = tokens * self._even
            zero, scales = _MIDDLE, tokens.abs().amax(1, keepdim=True).clamp_min_(_SMALL).div_(_SIGNED)
            steps = tokens / scales
        # oneDNN needs unsigned numbers; torch converts floats to signed ones much faster.
        unsigned = steps.round_().to(torch.int8).view(torch.uint8).add_(_MIDDLE)
        products: Tensor = self._multiply(
            *(unsigned, 1.0, zero, self.weight, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return products.mul_(scales).add_(self.bias)


_SIGNED, _UNSIGNED = 127, 255
"""The largest signed and unsigned numbers of 8 bits."""

_MIDDLE = 128
_SMALL = 1e-12
"""Avoids division by zero for a token, or a weight, of zeros."""

_GELU_LEAST = 0.17
"""GELU's minimum is -0.16997."""
