"""Linear layers of other libraries return torch's results; both variants are tested on every CPU."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from embedding_runtime.worker.backends.linear import Linear

SHAPES = [(1, 64), (255, 64), (256, 64), (1, 600, 64), (3, 200, 64)]
"""Few tokens and many: in one row, as rows of their own, as a padded batch."""


@pytest.mark.parametrize("avx2", [True, False], ids=["avx2", "wider"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_a_layer_is_torchs_own(*, shape: tuple[int, ...], biased: bool, avx2: bool) -> None:
    torch.manual_seed(1)
    before, tokens = nn.Linear(64, 96, bias=biased), torch.randn(shape)
    with torch.inference_mode():
        plain, curved = before(tokens), gelu(before(tokens))
        bias = before.bias if biased else None
        assert_close(Linear(before.weight, bias, avx2=avx2)(tokens), plain)
        assert_close(Linear(before.weight, bias, "gelu", avx2=avx2)(tokens), curved)


@pytest.mark.parametrize("avx2", [True, False], ids=["avx2", "wider"])
@pytest.mark.parametrize("tokens", [1, 255, 256])
def test_a_residual_addition_does_not_change_its_operand(*, tokens: int, avx2: bool) -> None:
    torch.manual_seed(1)
    before, given, beside = nn.Linear(64, 96), torch.randn(tokens, 64), torch.randn(tokens, 96)
    kept = beside.clone()
    with torch.inference_mode():
        layer = Linear(before.weight, before.bias, avx2=avx2)
        assert_close(layer.plus(given, beside), before(given) + kept)
    assert torch.equal(beside, kept)


def assert_close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
