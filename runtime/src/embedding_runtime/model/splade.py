"""Reads the head of a sparse encoder: sentence-transformers' SpladePooling over a masked language model's logits."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from embedding_runtime.model.files import ModelRefused, object_in

__all__ = ["Activation", "Splade", "Strategy"]


class Strategy(StrEnum):
    """Pooling over the tokens of a text."""

    MAX = "max"
    SUM = "sum"


class Activation(StrEnum):
    """Activation of a logit."""

    RELU = "relu"
    """log(1 + relu(x))."""
    LOG1P_RELU = "log1p_relu"
    """The same with a second logarithm: log(1 + log(1 + relu(x)))."""


@dataclass(frozen=True)
class Splade:
    """The head of a sparse encoder. A vector has a dimension for each token of the vocabulary."""

    strategy: Strategy
    activation: Activation
    most: int | None = None
    """Number of the largest values to keep; None: all."""

    @classmethod
    def read(cls, directory: Path, most: int | None) -> Self:
        """`directory`: that of SpladePooling. Raises ModelRefused."""
        path = directory / "config.json"
        config = object_in(path)
        return cls(
            Strategy(_one_of(Strategy, path, config, "pooling_strategy", Strategy.MAX)),
            Activation(_one_of(Activation, path, config, "activation_function", Activation.RELU)),
            most,
        )


def _one_of(kind: type[StrEnum], path: Path, config: Mapping[str, Any], key: str, default: str) -> str:
    given = config.get(key, default)
    if given not in tuple(kind):  # by equality, since it may be a list
        raise ModelRefused(f"{path} has {key} {given!r}, but only {' and '.join(kind)} are supported")
    return str(given)
