"""The self test at startup: compares a forward implementation with a trusted one, for a few texts."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from embedding_runtime.contract import Dtype
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import Backend

__all__ = ["SelfTest"]


@dataclass(frozen=True)
class SelfTest:
    """Texts and their expected rows."""

    probes: TokenBatch
    alone: Tensor
    """Expected rows, computed one text at a time: shape (probes, dimensions)."""
    tolerance: float
    """Largest accepted distance (1 - cosine) of a row from the expected one."""

    @classmethod
    def of(cls, backend: Backend, probes: TokenBatch, dtype: Dtype) -> Self:
        """Create a self test from the rows of a trusted backend."""
        alone = torch.cat([torch.from_numpy(as_dense(backend.embed(probe))) for probe in probes.singles()])
        return cls(probes, alone, _TOLERANCE[dtype])

    def problem(self, backend: Backend) -> str | None:
        """Describe how the rows of a batch differ from the expected ones, if they do. Raises as `embed` does."""
        off = 1 - self.cosine(backend)
        if not off <= self.tolerance:  # also for NaN
            return f"vectors of a batch differ by {off:.1e} from those of single texts"
        return None

    def difference(self, backend: Backend) -> str | None:
        """Describe how the vectors of another library differ, with both numbers; None if they do not.

        Raises as `embed` does.
        """
        together = _together(backend, self.probes)
        cosine, required = self._cosine(together), 1 - self.tolerance
        if not cosine >= required:  # also for NaN
            return f"the cosine similarity to transformers is {cosine:.7f}, and {required:.7f} is required"
        lengths = together.norm(dim=1) / self.alone.norm(dim=1)
        if not torch.allclose(lengths, torch.ones_like(lengths), rtol=0, atol=self.tolerance**0.5):
            return f"its vectors are {lengths.min():.5f} to {lengths.max():.5f} times as long as those of transformers"
        return None

    def difference_of_scores(self, backend: Backend) -> str | None:
        """Same as `difference`, for the logits of a cross-encoder."""
        off = (_together(backend, self.probes) - self.alone).abs() / (1 + self.alone.abs())
        allowed = self.tolerance**0.5
        if off.max().item() <= allowed:
            return None
        most = off.max().item()
        return f"its scores differ from those of transformers by up to {most:.1e}, and {allowed:.1e} is allowed"

    def cosine(self, backend: Backend) -> float:
        """The lowest cosine similarity to the expected rows. Raises as `embed` does."""
        return self._cosine(_together(backend, self.probes))

    def _cosine(self, together: Tensor) -> float:
        """The lowest cosine similarity."""
        return torch.cosine_similarity(self.alone.double(), together.double()).min().item()


def _together(backend: Backend, probes: TokenBatch) -> Tensor:
    return torch.from_numpy(backend.embed(probes))


_TOLERANCE = {Dtype.FLOAT32: 1e-6, Dtype.FLOAT16: 1e-4, Dtype.BFLOAT16: 1e-3}
