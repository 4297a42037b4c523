"""Linear layers in bfloat16 and int8 on CPUs, for models that are in float32 all around them.

Only the multiplications give up precision: they are nine tenths of the time, and every other operator is as fast in
float32 here. Figures, and the libraries that were compared: docs/performance.md.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import ModelRefused, ModelSpec

__all__ = [
    "Bfloat16Linear",
    "Int8Linear",
    "LinearLayer",
    "MakeLinear",
    "layers_for",
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


def layers_for(spec: ModelSpec) -> tuple[str, MakeLinear | None]:
    """Return how the model is to compute, in words, and layers for it: None for those of the model's own code.

    Raises ModelRefused where this CPU cannot.
    """
    if spec.quantize is Quantization.INT8:
        if not _cpu_has("avx512_vnni", "avx_vnni", "amx_int8"):
            raise ModelRefused(
                "--quantize=int8 needs a CPU with VNNI instructions (avx512_vnni, avx_vnni or amx_int8), which this "
                "one lacks: leave it out"
            )
        return spec.quantize.value, Int8Linear
    if spec.dtype is Dtype.BFLOAT16:
        if _cpu_has("avx512_bf16", "amx_bf16"):
            return spec.dtype.value, Bfloat16Linear
        _log.warning(
            "--dtype=bfloat16 is slower than float32 on this CPU, which has neither avx512_bf16 nor amx_bf16: "
            "use --dtype=float32"
        )
    return spec.dtype.value, None


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
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        super().__init__()
        weight = weight.detach()
        self._scales = weight.abs().amax(1).clamp_min_(torch.finfo(torch.float32).tiny) / _LARGEST
        whole = (weight / self._scales[:, None]).round_().to(torch.int8)
        self.weight = torch.ops.onednn.qlinear_prepack(whole, None)
        self.bias = torch.zeros(len(weight)) if bias is None else bias.detach()
        self._zeros = torch.zeros(len(weight), dtype=torch.int64)
        self._gelu_after = activation == "gelu"
        self._multiply = torch.ops.onednn.qlinear_pointwise.default

    def forward(self, tokens: Tensor) -> Tensor:
        """As LinearLayer."""
        products, scales = self._products(tokens)
        result = products.mul_(scales).add_(self.bias)
        return gelu(result) if self._gelu_after else result

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """As LinearLayer."""
        products, scales = self._products(tokens)
        return products.mul_(scales).add_(self.bias).add_(beside)

    def _products(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Without the tokens' scales and the bias; and those scales, (tokens, 1)."""
        scales = tokens.abs().amax(1, keepdim=True).clamp_min_(_SMALLEST).div_(_LARGEST)
        # oneDNN multiplies unsigned by signed; rounding is cutting off, since all that is cut is positive.
        whole = torch.addcmul(_MIDDLE_AND_HALF, tokens, scales.reciprocal()).to(torch.uint8)
        products: Tensor = self._multiply(
            whole, 1.0, _MIDDLE, self.weight, self._scales, self._zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        return products, scales


_LARGEST = 127
_MIDDLE = 128
_MIDDLE_AND_HALF = torch.tensor(_MIDDLE + 0.5)
_SMALLEST = 1e-30
"""For a token of zeros."""
