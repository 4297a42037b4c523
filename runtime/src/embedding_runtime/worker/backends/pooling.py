"""Computes vectors from hidden states of concatenated texts: sentence-transformers' Pooling, Dense and Normalize."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedding_runtime.model import Cut, Dense, ModelRefused, ModelSpec, Normalize, Pooling, Step
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.device import to_device

__all__ = ["Head", "activation", "pool", "steps_of"]


class Head:
    """All steps after the transformer, in float32."""

    def __init__(self, spec: ModelSpec, device: torch.device, *, prompt_tokens: int) -> None:
        """`prompt_tokens`: number of tokens of the prompt at the start of every text. Raises ModelRefused."""
        self._spec = spec
        self._skip = 0 if spec.include_prompt else prompt_tokens
        self._steps = steps_of(spec, device)

    def __call__(self, hidden: Tensor, texts: TokenBatch) -> Tensor:
        """(tokens, hidden) of concatenated texts -> (texts, dimensions)."""
        rows = pool(hidden.float(), texts.lengths.tolist(), self._spec.pooling, skip=self._skip)
        for step in self._steps:
            rows = step(rows)
        return rows


def steps_of(spec: ModelSpec, device: torch.device) -> Sequence[Callable[[Tensor], Tensor]]:
    """The steps after pooling, in order, in float32. Raises ModelRefused."""
    return [_step(step, device) for step in spec.steps]


def pool(hidden: Tensor, lengths: Sequence[int], modes: Sequence[Pooling], *, skip: int = 0) -> Tensor:
    """(tokens, hidden) of concatenated texts -> (texts, hidden x modes), without the first `skip` tokens of each text.

    The results are those of sentence-transformers, also for a text without other tokens. Each mode takes one or two
    operators for all texts, so that a GPU needs few launches.
    """
    texts = _Texts(np.asarray(lengths), skip)
    return torch.cat([_pooled(mode, hidden, texts) for mode in modes], dim=1)


class _Texts:
    """Positions of the texts in the row of tokens, and of the tokens to pool: arrays with one entry per text."""

    def __init__(self, lengths: npt.NDArray[np.int64], skip: int) -> None:
        self.skip, self.lengths = skip, lengths
        self.counted = np.maximum(lengths - skip, 0)
        """Number of tokens to pool."""

    @cached_property
    def stop(self) -> npt.NDArray[np.int64]:
        stop: npt.NDArray[np.int64] = np.cumsum(self.lengths)
        return stop

    @property
    def start(self) -> npt.NDArray[np.int64]:
        return self.stop - self.lengths

    @property
    def first(self) -> npt.NDArray[np.int64]:
        """The first token to pool, or `stop` if there is none."""
        first: npt.NDArray[np.int64] = self.stop - self.counted
        return first

    @cached_property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Indices of all tokens to pool in the row."""
        ahead = np.repeat(self.stop - np.cumsum(self.counted), self.counted)
        tokens: npt.NDArray[np.int64] = np.arange(len(ahead)) + ahead
        return tokens

    @property
    def places(self) -> npt.NDArray[np.int64]:
        """Positions of `tokens` in their texts, from 1."""
        return self.tokens - np.repeat(self.start, self.counted) + 1

    @property
    def sums_of_places(self) -> npt.NDArray[np.float64]:
        """Sum of `places` of each text, as an arithmetic series."""
        least, greatest = self.lengths - self.counted + 1, self.lengths
        sums: npt.NDArray[np.float64] = self.counted * (least + greatest) / 2
        return sums


def _pooled(mode: Pooling, hidden: Tensor, texts: _Texts) -> Tensor:
    """(tokens, hidden) -> (texts, hidden)."""

    def on_device(array: npt.NDArray[Any]) -> Tensor:
        return to_device(array, hidden.device)

    def column(array: npt.NDArray[Any]) -> Tensor:
        return on_device(array.astype(np.float32))[:, None]

    def reduced(kind: str, weights: Tensor | None = None) -> Tensor:
        """Reduce over the tokens to pool. Without any, the sum is 0 and the maximum minus infinity."""
        rows = hidden[on_device(texts.tokens)] if texts.skip else hidden
        weighted = rows if weights is None else rows * weights
        return torch.segment_reduce(weighted, kind, lengths=on_device(texts.counted), unsafe=True)  # no check

    match mode:
        case Pooling.CLS:
            return hidden[on_device(np.where(texts.counted, texts.first, texts.start))]
        case Pooling.MEAN:
            return reduced("sum") / column(texts.counted.clip(1))
        case Pooling.MEAN_SQRT_LEN:
            return reduced("sum") / column(np.sqrt(texts.counted.clip(1)))
        case Pooling.WEIGHTED_MEAN:
            return reduced("sum", column(texts.places)) / column(texts.sums_of_places.clip(1e-9))
        case Pooling.LAST_TOKEN:
            return hidden[on_device(texts.stop - 1)].where(column(texts.counted) > 0, 0)
        case Pooling.MAX:
            return reduced("max")


def _step(step: Step, device: torch.device) -> Callable[[Tensor], Tensor]:
    match step:
        case Normalize():
            return normalize
        case Cut(outputs):
            return lambda rows: rows[:, :outputs]
        case Dense():
            return _Dense(step, device)


class _Dense:
    """One Dense module."""

    def __init__(self, dense: Dense, device: torch.device) -> None:
        self._activation = activation(dense.activation, dense.directory)
        weights = _weights(dense.directory)
        try:
            with torch.device("meta"):  # no memory for sizes that the weights do not have
                self._linear = nn.Linear(dense.inputs, dense.outputs, bias=dense.bias)
                layers = nn.ModuleDict({"linear": self._linear})
                self._residual: nn.Module | None = None
                if dense.residual and dense.inputs == dense.outputs:
                    self._residual = nn.Identity()
                elif dense.residual:
                    self._residual = layers["residual"] = nn.Linear(dense.inputs, dense.outputs, bias=False)
            layers.load_state_dict(weights, assign=True)
        except (RuntimeError, TypeError) as error:  # TypeError: a size beyond 64 bits
            raise ModelRefused(
                f"the weights in {dense.directory} do not match its config.json: {' '.join(str(error).split())}"
            ) from error
        layers.to(device, torch.float32)

    def __call__(self, rows: Tensor) -> Tensor:
        out: Tensor = self._activation(self._linear(rows))
        return out if self._residual is None else out + self._residual(rows)


def activation(full_name: str, directory: Path) -> nn.Module:
    """Create the activation that the files in `directory` name, a class of torch. Raises ModelRefused."""
    where, _, name = full_name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(where), name)
    except (ImportError, AttributeError) as error:
        raise ModelRefused(f"{directory} has the activation {full_name}, which torch does not have") from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ModelRefused(f"{directory} has the activation {full_name}, which is not a module of torch")
    return kind()


def _weights(directory: Path) -> Mapping[str, Tensor]:
    if (directory / "model.safetensors").is_file():
        return load_file(directory / "model.safetensors")
    if (directory / "pytorch_model.bin").is_file():
        weights: Mapping[str, Tensor] = torch.load(
            directory / "pytorch_model.bin", map_location="cpu", weights_only=True
        )
        return weights
    raise ModelRefused(f"{directory} has neither model.safetensors nor pytorch_model.bin")
