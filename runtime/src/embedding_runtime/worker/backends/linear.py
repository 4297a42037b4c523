"""Linear layers in float32 on CPUs, with the fastest library for the machine; exact to 3e-7.

They use oneDNN with fused activations and additions instead of MKL. Without AVX-512, torch's GELU is faster than
oneDNN's, and MKL is faster with many tokens: docs/performance.md.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from transformers.activations import GELUActivation

from embedding_runtime.worker.backends.low_precision import MakeLinear

__all__ = ["Linear", "use_for_linear_layers"]

_AVX2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
"""Whether the CPU has AVX2 but not AVX-512."""

_MANY = 256
"""Number of tokens from which MKL is faster. It copies the weight in every call."""


class Linear(nn.Module):
    """A linear layer with its weight in oneDNN's layout, with bias and activation."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none", *, avx2: bool = _AVX2) -> None:
        """`weight`: (outputs, inputs); it is copied. `activation`: none or gelu. `avx2`: the CPU has no AVX-512."""
        super().__init__()
        # Reordered once instead of in each call: a third faster for one short text. The copy keeps the attribute's name
        # (some models read its dtype) and replaces the original, unless MKL needs that: usually mapped pages of a file.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)  # noqa: SLF001
        self.bias = None if bias is None else bias.detach()
        self._inside, self._gelu_after = ("none", activation == "gelu") if avx2 else (activation, False)
        self._plain, self._many = self.weight, math.inf  # MKL is never used
        if avx2 and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
            self._plain, self._many = weight.detach(), _MANY * weight.shape[1]  # elements of that many tokens
        # The operators that torch.compile uses for linear layers on CPUs; they have no public names.
        self._multiply = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        self._multiply_and_add = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001

    def forward(self, tokens: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        if tokens.numel() < self._many:
            result = self._multiply(tokens, self.weight, self.bias, self._inside, [], "none")
        else:
            result = linear(tokens, self._plain, self.bias)
        return gelu(result) if self._gelu_after else result

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """Return `beside` + the layer's result, for a residual connection. The layer must have no activation."""
        if tokens.numel() < self._many:
            result: Tensor = self._multiply_and_add(tokens, beside, self.weight, self.bias, "add")
            return result
        return linear(tokens, self._plain, self.bias).add_(beside)


def use_for_linear_layers(module: nn.Module, make: MakeLinear = Linear) -> None:
    """Replace linear layers in place, if torch has oneDNN. Subclasses of nn.Linear are not replaced."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for name, activation in _GELU_FOLLOWS:
        if type(getattr(module, activation, None)) is GELUActivation:
            before = getattr(module, name)
            setattr(module, name, make(before.weight, before.bias, "gelu"))
            setattr(module, activation, nn.Identity())
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            setattr(module, name, make(child.weight, child.bias, "none"))
        else:
            use_for_linear_layers(child, make)


_GELU_FOLLOWS = (("dense", "intermediate_act_fn"), ("lin1", "activation"))
"""Attributes of feed-forward layers in the BERT family and DistilBERT: a linear layer and its activation."""
