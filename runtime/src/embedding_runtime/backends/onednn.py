"""oneDNN for linear layers in float32 on CPUs, in place of MKL, with what follows them fused in; exact to 3e-7.

What a profile of plain torch says, and what each step gives, is in docs/performance.md.
"""

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

__all__ = ["Linear", "use_for_linear_layers"]


class Linear(nn.Module):
    """A linear layer whose weight lies as oneDNN wants it, with bias and activation inside the multiplication."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: str = "none") -> None:
        """`weight`: (outputs, inputs); is copied. `activation`: none or gelu."""
        super().__init__()
        # Laid out once, not at each call: a third faster for one short text, and the copy takes the weight's place
        # (under its name: some models ask its type).
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), None)  # noqa: SLF001
        self.bias = None if bias is None else bias.detach()
        self._activation = activation
        # The operators that torch.compile itself puts in for a linear layer on a CPU; they have no public names.
        self._multiply = torch.ops.mkldnn._linear_pointwise.default  # noqa: SLF001
        self._multiply_and_add = torch.ops.mkldnn._linear_pointwise.binary  # noqa: SLF001

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self._multiply(tokens, self.weight, self.bias, self._activation, [], "none")
        return result

    def plus(self, tokens: Tensor, beside: Tensor) -> Tensor:
        """`beside` + the layer's result, which has no activation, in one step: a residual connection."""
        result: Tensor = self._multiply_and_add(tokens, beside, self.weight, self.bias, "add")
        return result


def use_for_linear_layers(module: nn.Module) -> None:
    """Replaces them in place, where torch has oneDNN. Subclasses of Linear keep their own ways."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    for linear, activation in _GELU_FOLLOWS:
        if type(getattr(module, activation, None)) is GELUActivation:
            before = getattr(module, linear)
            setattr(module, linear, Linear(before.weight, before.bias, "gelu"))
            setattr(module, activation, nn.Identity())
    for name, child in list(module.named_children()):
        if type(child) is nn.Linear:
            setattr(module, name, Linear(child.weight, child.bias))
        else:
            use_for_linear_layers(child)


_GELU_FOLLOWS = (("dense", "intermediate_act_fn"), ("lin1", "activation"))
"""Attributes of BERT's and its kin's, and of DistilBERT's feed-forward layers: the second is applied to the first."""
