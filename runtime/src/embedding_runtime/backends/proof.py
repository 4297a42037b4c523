"""What any way through a model is held to at start: a few texts, each alone through the model's code as it comes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from embedding_runtime.backends.base import Backend
from embedding_runtime.contract import Dtype
from embedding_runtime.wire import TokenIds

__all__ = ["Proof"]


@dataclass(frozen=True)
class Proof:
    """Texts, and the rows that they have to get."""

    probes: Sequence[TokenIds]
    alone: Tensor
    """Shape (probes, dimensions)."""
    tolerance: float
    """Largest distance (1 - cosine) of a row from the one that it has to be."""

    @classmethod
    def of(cls, backend: Backend, probes: Sequence[TokenIds], dtype: Dtype) -> Self:
        """`backend` is the way that is trusted."""
        alone = torch.cat([torch.from_numpy(backend.embed([probe])) for probe in probes])
        return cls(probes, alone, _TOLERANCE[dtype])

    def problem(self, backend: Backend) -> str | None:
        """What is wrong with what it gives for the texts together, in words; None: nothing. Raises as `embed` does."""
        together = torch.from_numpy(backend.embed(self.probes))
        off = 1 - torch.cosine_similarity(self.alone.double(), together.double()).min().item()
        return None if off <= self.tolerance else f"texts together are off by {off:.1e} from each alone"  # NaN: not <=


_TOLERANCE = {Dtype.FLOAT32: 1e-6, Dtype.FLOAT16: 1e-4, Dtype.BFLOAT16: 1e-3}
