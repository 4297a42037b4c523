"""Reads the head of a cross-encoder: number of scores, activation, labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from embedding_runtime.model.files import ModelRefused, json_in, object_in
from embedding_runtime.model.other_kinds import refused_modules

__all__ = ["Problem", "Scores", "check_modules"]


class Problem(StrEnum):
    """How transformers turns logits into the scores of labels: problem_type in config.json."""

    REGRESSION = "regression"
    """Not at all."""
    MULTI_LABEL = "multi_label_classification"
    """By a sigmoid of each, since several labels may apply."""
    SINGLE_LABEL = "single_label_classification"
    """By softmax, since one label applies; of a single label by a sigmoid."""


@dataclass(frozen=True)
class Scores:
    """The head of a `...ForSequenceClassification` model."""

    labels: int
    """Number of scores per pair; a reranker has one."""
    activation: str
    """Activation of the logits: full name of a class of torch, instantiated without arguments."""
    architecture: str
    """Class of the model in transformers."""
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Names of the labels; they do not affect scores."""
    problem: Problem = field(default=Problem.SINGLE_LABEL, compare=False, repr=False)
    """For the scores of labels, which a request may ask for instead."""

    @classmethod
    def read(cls, directory: Path, saved: str | None) -> tuple[Self, tuple[str, ...]]:
        """Return the head and a list of assumptions. `saved`: the activation in config_sentence_transformers.json.

        Raises ModelRefused.
        """
        path = directory / "config.json"
        config = object_in(path)
        architecture = next(iter(config.get("architectures") or []), "unknown")
        if not architecture.endswith("ForSequenceClassification"):
            raise ModelRefused(
                f"{path} has the architecture {architecture}, but of cross-encoders only "
                "...ForSequenceClassification is supported"
            )
        names = config.get("id2label")
        labels = config.get("num_labels", 2) if names is None else len(names)
        if not isinstance(labels, int) or labels < 1:
            raise ModelRefused(f"{path} has {labels} labels, but a cross-encoder needs at least one")
        activation = _SIGMOID if labels == 1 else _IDENTITY
        foreign = []
        for name in (saved, _activation(config)):
            if name is not None and str(name).startswith("torch."):
                activation = name
                break
            if name is not None:
                foreign.append(name)
        problem = config.get("problem_type") or Problem.SINGLE_LABEL
        if problem not in set(Problem):
            raise ModelRefused(f"{path} has problem_type {problem!r}, which must be one of {', '.join(Problem)}")
        given = names if isinstance(names, dict) else {}
        named = tuple(str(given.get(str(label), f"LABEL_{label}")) for label in range(labels))
        return cls(labels, activation, architecture, named, Problem(problem)), tuple(
            f"activation {activation}: the files have {name}, which is not a class of torch" for name in foreign
        )

    @property
    def are_logits(self) -> bool:
        """Whether no activation is applied."""
        return self.activation.rpartition(".")[2] == "Identity"

    def name(self, label: int) -> str:
        """The name of a label, as in transformers."""
        return self.names[label] if self.names else f"LABEL_{label}"


_SIGMOID = "torch.nn.modules.activation.Sigmoid"
_IDENTITY = "torch.nn.modules.linear.Identity"


def _activation(config: Mapping[str, Any]) -> Any:
    """The activation in config.json, from releases before 5.4, or with another key before 4.0."""
    since_4 = config.get("sentence_transformers") or {}
    if "activation_fn" in since_4:
        return since_4["activation_fn"]
    return config.get("sbert_ce_default_activation_function")


def check_modules(directory: Path) -> None:
    """Raises ModelRefused unless modules.json has exactly one Transformer in the top directory."""
    path = directory / "modules.json"
    listed = json_in(path)
    try:
        modules = [(str(module["type"]), str(module["path"])) for module in listed]
    except (KeyError, TypeError) as error:
        raise ModelRefused(f"{path} must be a list of modules with type and path") from error
    official = all(kind.startswith("sentence_transformers.") for kind, _ in modules)
    if not official or [(kind.rpartition(".")[2], where) for kind, where in modules] != [("Transformer", "")]:
        raise refused_modules(
            path, [kind for kind, _ in modules], "a cross-encoder must have one Transformer with a classification head"
        )
