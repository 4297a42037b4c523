"""From hidden states to vectors: sentence-transformers' Pooling, Dense and Normalize, over texts end to end."""

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedding_runtime.backends.runs import runs_of
from embedding_runtime.modelspec import Cut, Dense, ModelRefused, ModelSpec, Normalize, Pooling, Step

__all__ = ["Head", "activation", "pool"]


class Head:
    """All that is done to hidden states, in float32."""

    def __init__(self, spec: ModelSpec, device: torch.device, *, prompt_tokens: int) -> None:
        """`prompt_tokens`: how many at the start of every text are its prompt's. Raises ModelRefused."""
        self._spec = spec
        self._skip = 0 if spec.include_prompt else prompt_tokens
        self._steps = [_step(step, device) for step in spec.steps]

    def __call__(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """(tokens, hidden), texts end to end -> (texts, dimensions)."""
        rows = pool(hidden.float(), lengths, self._spec.pooling, skip=self._skip)
        for step in self._steps:
            rows = step(rows)
        return rows


def pool(hidden: Tensor, lengths: Sequence[int], modes: Sequence[Pooling], *, skip: int = 0) -> Tensor:
    """(tokens, hidden), texts end to end -> (texts, hidden x modes), without the first `skip` tokens of each text.

    As sentence-transformers has it, also for a text that has no others.
    """
    rows = []
    for run in runs_of(lengths):
        tokens = hidden[run.start : run.stop].view(run.texts, run.length, -1)
        rows.append(torch.cat([_pooled(mode, tokens, skip) for mode in modes], dim=1))
    return torch.cat(rows)


def _pooled(mode: Pooling, tokens: Tensor, skip: int) -> Tensor:
    """(texts, tokens, hidden) -> (texts, hidden)."""
    kept = tokens[:, skip:]
    match mode:
        case Pooling.CLS:
            return tokens[:, skip if kept.shape[1] else 0]
        case Pooling.MEAN:
            return kept.sum(1) / max(kept.shape[1], 1)
        case Pooling.MEAN_SQRT_LEN:
            return kept.sum(1) / math.sqrt(max(kept.shape[1], 1))
        case Pooling.WEIGHTED_MEAN:
            weights = torch.arange(skip + 1, tokens.shape[1] + 1, dtype=tokens.dtype, device=tokens.device)
            return weights @ kept / weights.sum().clamp(min=1e-9)
        case Pooling.LAST_TOKEN:
            return kept[:, -1] if kept.shape[1] else torch.zeros_like(tokens[:, 0])
        case Pooling.MAX:
            return kept.amax(1) if kept.shape[1] else torch.full_like(tokens[:, 0], -torch.inf)


def _step(step: Step, device: torch.device) -> Callable[[Tensor], Tensor]:
    match step:
        case Normalize():
            return normalize
        case Cut(outputs):
            return lambda rows: rows[:, :outputs]
        case Dense():
            return _Dense(step, device)


class _Dense:
    """One Dense module with its own weights."""

    def __init__(self, dense: Dense, device: torch.device) -> None:
        self._activation = activation(dense.activation, dense.directory)
        self._linear = nn.Linear(dense.inputs, dense.outputs, bias=dense.bias)
        layers = nn.ModuleDict({"linear": self._linear})
        self._beside: nn.Module | None = None
        if dense.residual and dense.inputs == dense.outputs:
            self._beside = nn.Identity()
        elif dense.residual:
            self._beside = layers["residual"] = nn.Linear(dense.inputs, dense.outputs, bias=False)
        try:
            layers.load_state_dict(_weights(dense.directory))
        except RuntimeError as error:
            raise ModelRefused(
                f"the weights in {dense.directory} do not fit: {' '.join(str(error).split())}"
            ) from error
        layers.to(device)

    def __call__(self, rows: Tensor) -> Tensor:
        out: Tensor = self._activation(self._linear(rows))
        return out if self._beside is None else out + self._beside(rows)


def activation(full_name: str, directory: Path) -> nn.Module:
    """An instance of one of torch's classes, as the files in `directory` name it. Raises ModelRefused."""
    where, _, name = full_name.rpartition(".")
    try:
        kind = getattr(importlib.import_module(where), name)
    except (ImportError, AttributeError) as error:
        raise ModelRefused(f"{directory} has the activation {full_name}: torch has none such") from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise ModelRefused(f"{directory} has the activation {full_name}: it is no module of torch")
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
