"""Pooling functions. The matrix compares their rows with sentence-transformers."""

import pytest

from embedding_runtime.model import Pooling

torch = pytest.importorskip("torch")
pooling = pytest.importorskip("embedding_runtime.worker.backends.pooling")


@pytest.mark.parametrize("mode", Pooling)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_nan_in_a_counted_token_is_never_pooled_away(mode: Pooling, place: int) -> None:
    read = {Pooling.CLS: [0], Pooling.LAST_TOKEN: [2]}.get(mode, [0, 1, 2])
    hidden = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    hidden[place, 0] = torch.nan
    rows = pooling.pool(hidden, [3, 1], [mode])
    assert rows.isnan().tolist() == [[place in read, False], [False, False]]
