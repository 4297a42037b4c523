"""Reads the head of a cross-encoder: number of scores, activation, labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from embedding_runtime.model.body import architecture_of
from embedding_runtime.model.files import ModelRefused, json_in, object_in, typed
from embedding_runtime.model.other_kinds import refused_modules

__all__ = ["Scores", "check_modules"]


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

    @classmethod
    def read(cls, directory: Path, saved: str | None) -> tuple[Self, tuple[str, ...]]:
        """Return the head and a list of assumptions. `saved`: the activation in config_sentence_transformers.json.

        Raises ModelRefused.
        """
        path = directory / "config.json"
        config = object_in(path)
        architecture = architecture_of(path, config) or "unknown"
        if not architecture.endswith("ForSequenceClassification"):
            raise ModelRefused(
                f"{path} has the architecture {architecture}, but of cross-encoders only "
                "...ForSequenceClassification is supported"
            )
        names: Mapping[str, Any] = typed(path, config, "id2label", {})
        labels = config.get("num_labels", 2) if config.get("id2label") is None else len(names)
        if not isinstance(labels, int) or labels < 1:
            raise ModelRefused(f"{path} has {labels} labels, but a cross-encoder needs at least one")
        activation = _SIGMOID if labels == 1 else _IDENTITY
        foreign = []
        for name in (saved, _activation(path, config)):
            if name is not None and str(name).startswith("torch."):
                activation = name
                break
            if name is not None:
                foreign.append(name)
        named = tuple(str(names.get(str(label), f"LABEL_{label}")) for label in range(labels))
        return cls(labels, activation, architecture, named), tuple(
            f"activation {activation}: the files have {name}, which is not a class of torch" for name in foreign
        )

    def name(self, label: int) -> str:
        """The name of a label, as in transformers."""
        return self.names[label] if self.names else f"LABEL_{label}"


_SIGMOID = "torch.nn.modules.activation.Sigmoid"
_IDENTITY = "torch.nn.modules.linear.Identity"


def _activation(path: Path, config: Mapping[str, Any]) -> Any:
    """The activation in config.json, from releases before 5.4, or with another key before 4.0."""
    since_4: Mapping[str, Any] = typed(path, config, "sentence_transformers", {})
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
