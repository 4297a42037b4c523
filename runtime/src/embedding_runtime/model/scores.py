"""Reads the head of a cross-encoder: what computes its scores, their number, activation and labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from embedding_runtime.model.body import architecture_of
from embedding_runtime.model.files import ModelRefused, object_in, typed

__all__ = ["Problem", "ScoreTokens", "Scores"]


@dataclass(frozen=True)
class ScoreTokens:
    """Tokens whose logits are the score of a language model, after the last token of the pair (LogitScore)."""

    true: int | str
    """Id or text of the token of a match. A text is looked up in transformers' tokenizer."""
    false: int | str | None
    """Token whose logit is subtracted; None: nothing is subtracted."""

    @classmethod
    def read(cls, directory: Path, vocabulary: int) -> Self:
        """Read LogitScore's `directory`. Raises ModelRefused. `vocabulary`: number of logits."""
        path = directory / "config.json"
        config = object_in(path)
        for name in ("true_token_id", "false_token_id"):
            token = config.get(name)
            if not (type(token) is int and 0 <= token < vocabulary) and (token is not None or name == "true_token_id"):
                raise ModelRefused(
                    f"{path} has {name} {token!r}, which must be a token id below {vocabulary}, the model's vocab_size"
                )
        if config.get("module_input_name", _LOGITS) != _LOGITS:
            raise ModelRefused(
                f"{path} has module_input_name {config['module_input_name']!r}, but only {_LOGITS} is supported: save "
                "the model with sentence-transformers' LogitScore as it is"
            )
        return cls(config["true_token_id"], config.get("false_token_id"))


_LOGITS = "causal_logits"


class Problem(StrEnum):
    """How transformers turns logits into the scores of labels: problem_type in config.json."""

    REGRESSION = "regression"
    """Scores are the logits."""
    MULTI_LABEL = "multi_label_classification"
    """Scores are the sigmoid of each logit, since several labels may apply."""
    SINGLE_LABEL = "single_label_classification"
    """Scores are the softmax, since one label applies; the sigmoid if there is only one label."""


@dataclass(frozen=True)
class Scores:
    """What computes the scores of a pair: a classification head, tokens' logits, or the last layer after a pooling."""

    labels: int
    """Number of scores per pair; a reranker has one."""
    activation: str
    """Activation of the logits: full name of a class of torch, instantiated without arguments."""
    architecture: str
    """Class of the model in transformers."""
    names: tuple[str, ...] = field(default=(), compare=False, repr=False)
    """Names of the labels, if the files have them; they do not affect scores."""
    tokens: ScoreTokens | None = field(default=None, repr=False)  # `space` has it where there are any
    """Tokens of a language model; None for other cross-encoders."""
    problem: Problem = field(default=Problem.SINGLE_LABEL, compare=False, repr=False)
    """How the logits become the scores of labels, which some APIs return instead."""

    @classmethod
    def read(
        cls, directory: Path, saved: str | None, *, tokens: ScoreTokens | None = None, outputs: int | None = None
    ) -> tuple[Self, tuple[str, ...]]:
        """Return the head and a list of assumptions. `saved`: the activation in config_sentence_transformers.json.

        `tokens`: of a language model. `outputs`: of the last layer after a pooling; None: config.json says how many
        labels there are. Raises ModelRefused.
        """
        path = directory / "config.json"
        config = object_in(path)
        architecture = architecture_of(path, config) or "unknown"
        suffix = "" if outputs else "ForSequenceClassification" if tokens is None else "ForCausalLM"
        if not architecture.endswith(suffix):
            which = "cross-encoders" if tokens is None else "cross-encoders with LogitScore"
            raise ModelRefused(
                f"{path} has the architecture {architecture}, but of {which} only ...{suffix} is supported"
            )
        names: Mapping[str, Any] = typed(path, config, "id2label", {})
        labels = config.get("num_labels", 2) if config.get("id2label") is None else len(names)
        if tokens is not None or outputs is not None:
            names, labels = {}, outputs or 1
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
        problem = typed(path, config, "problem_type", str(Problem.SINGLE_LABEL))
        if problem not in set(Problem):
            raise ModelRefused(f"{path} has problem_type {problem!r}, which must be one of {', '.join(Problem)}")
        named = tuple(str(names.get(str(label), f"LABEL_{label}")) for label in range(labels)) if names else ()
        return cls(labels, activation, architecture, named, tokens, Problem(problem)), tuple(
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


def _activation(path: Path, config: Mapping[str, Any]) -> Any:
    """The activation in config.json, from releases before 5.4, or with another key before 4.0."""
    since_4: Mapping[str, Any] = typed(path, config, "sentence_transformers", {})
    if "activation_fn" in since_4:
        return since_4["activation_fn"]
    return config.get("sbert_ce_default_activation_function")
