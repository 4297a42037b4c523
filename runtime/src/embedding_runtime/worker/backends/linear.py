"""Linear layers in float32 on CPUs, by the fastest library for the machine; exact to 3e-7.

oneDNN in place of MKL, with what follows a layer fused in. Where a CPU has no AVX-512, oneDNN's GELU takes longer than
torch's own, and MKL is ahead with many tokens. Figures, and what a profile of plain torch says: docs/performance.md.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear
from transformers.activations import GELUActivation

from embedding_runtime.worker.backends.low_precision import MakeLinear

__all__ = ["Linear", "use_for_linear_layers"]

_AVX2 = torch.backends.cpu.get_cpu_capability() == "AVX2"
"""And no more than that."""

_MANY = 256
"""Tokens from which MKL is ahead: it copies the weight at every call, which few tokens do not repay."""


class Linear(nn.Module):
    """A linear layer whose weight lies as oneDNN wants it, with bias and activation."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none", *, avx2: bool = _AVX2) -> None:
        """`weight`: (outputs, inputs); is copied. `activation`: none or gelu. `avx2`: the CPU has nothing wider."""
        super().__init__()
        # Laid out once, not at each call: a third faster for one short text. The copy takes the weight's name (some
        # models ask its type), and its place, but where MKL wants it as it was: mostly the file's own pages, mapped.
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)  # noqa: SLF001
        self.bias = None if bias is None else bias.detach()
        self._inside, self._gelu_after = ("none", activation == "gelu") if avx2 else (activation, False)
        self._plain, self._many = self.weight, math.inf  # MKL never multiplies
        if avx2 and torch.backends.mkl.is_available():  # type: ignore[no-untyped-call]
            self._plain, self._many = weight.detach(), _MANY * weight.shape[1]  # numbers that many tokens have
        # The operators that torch.compile itself puts in for a linear layer on a CPU; they have no public names.
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
        """`beside` + the layer's result, which has no activation: a residual connection."""
        if tokens.numel() < self._many:
            result: Tensor = self._multiply_and_add(tokens, beside, self.weight, self.bias, "add")
            return result
        return linear(tokens, self._plain, self.bias).add_(beside)


def use_for_linear_layers(module: nn.Module, make: MakeLinear = Linear) -> None:
    """Replaces them in place, where torch has oneDNN. Subclasses of Linear keep their own ways."""
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
"""Attributes of BERT's and its kin's, and of DistilBERT's feed-forward layers: the second is applied to the first."""
