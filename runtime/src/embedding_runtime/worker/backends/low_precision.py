"""Linear layers in bfloat16 and int8 on CPUs, for models that are in float32 all around them.

Only the multiplications give up precision: they are nine tenths of the time, and every other operator is as fast in
float32 here. Figures, and the libraries that were compared: docs/performance.md.
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
    """A linear layer over tokens in float32."""

    def forward(self, tokens: Tensor) -> Tensor:
        """(tokens, inputs) -> (tokens, outputs), bias and activation included."""
        ...

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """`beside` + the layer's result: a residual connection."""
        ...


MakeLinear = Callable[[Tensor, Tensor | None, str], nn.Module]
"""Weight (outputs, inputs), bias, activation (none or gelu) -> a LinearLayer."""


@dataclass(frozen=True)
class Precision:
    """How a model is to compute."""

    name: str
    make: MakeLinear | None = None
    """None: with the layers of the model's own code."""
    finish: Callable[[], None] = lambda: None
    """To be called when the layers have seen a few texts."""


def precision_of(spec: ModelSpec) -> Precision:
    """Return what the flags ask for. Raises ModelRefused where this CPU cannot."""
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
        """As LinearLayer."""
        return self._narrow(tokens).float()

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """As LinearLayer."""
        return beside + self._narrow(tokens)

    def _narrow(self, tokens: Tensor) -> Tensor:
        result: Tensor = self._multiply(tokens.bfloat16(), self.weight, self.bias, self._activation, [], "none")
        return result


class Int8Linear(nn.Module):
    """Weights in int8, a scale for each output; tokens in 8 bits, a scale for each token, found at every call.

    A scale for all tokens of a batch would be one operator less, but a text's vector would then depend on the texts
    beside it. The products are summed in int32 (oneDNN), so they do not depend on the batch at all.

    In BERT a few of a token's numbers are many times as large as the others, which are left with few of the 256 steps.
    So numbers are divided, and their weights multiplied, by what evens out the two: SmoothQuant (Xiao et al., 2022).
    How large each number gets is seen in float32, until `quantize`. What GELU gives is hardly ever below zero: those
    tokens' steps begin at its minimum.
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
        """Compute in int8 from now on, fit for inputs such as those that came before; in float32 if none came."""
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
        """As LinearLayer."""
        result = self._product(tokens)
        return gelu(result) if self._gelu_after else result

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """As LinearLayer."""
        return self._product(tokens).add_(beside)

    def _product(self, tokens: Tensor) -> Tensor:
        if not self._is_quantized:
            self._least = torch.minimum(self._least, tokens.amin())
            self._reach = torch.maximum(self._reach, tokens.abs().amax(0))
            return linear(tokens, self.weight, self.bias)
        if self._is_shifted:
            zero, scales = 0, tokens.amax(1, keepdim=True).add_(_GELU_LEAST).div_(_UNSIGNED)
            # A number below GELU's minimum, where there is one after all, would come out at the other end.
            steps = (tokens / scales).add_(_GELU_LEAST / scales - _MIDDLE).clamp_min_(-_MIDDLE)
        else:
            tokens = tokens * self._even
            zero, scales = _MIDDLE, tokens.abs().amax(1, keepdim=True).clamp_min_(_SMALL).div_(_SIGNED)
            steps = tokens / scales
        # oneDNN wants unsigned numbers; torch is slow to make them of floats, and fast with signed ones.
        unsigned = steps.round_().to(torch.int8).view(torch.uint8).add_(_MIDDLE)
        products: Tensor = self._multiply(
            *(unsigned, 1.0, zero, self.weight, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return products.mul_(scales).add_(self.bias)


_SIGNED, _UNSIGNED = 127, 255
"""The largest number of 8 bits."""

_MIDDLE = 128
_SMALL = 1e-12
"""For a token, or a weight, of zeros."""

_GELU_LEAST = 0.17
"""GELU's minimum is -0.16997."""
