"""Reads the modules after the transformer: pooling, and the steps after it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from embedding_runtime.model import remote_code
from embedding_runtime.model.files import ModelRefused, check_weights, json_in, number, object_in, object_or_nothing
from embedding_runtime.model.other_kinds import refused_modules

__all__ = ["Cut", "Dense", "Head", "Modules", "Normalize", "Pooling", "Step", "modules_in", "read_steps"]


class Pooling(StrEnum):
    """Pooling of token vectors, with sentence-transformers' names."""

    CLS = "cls"
    MAX = "max"
    MEAN = "mean"
    MEAN_SQRT_LEN = "mean_sqrt_len_tokens"
    WEIGHTED_MEAN = "weightedmean"
    """Weights tokens by position: 1, 2, 3, ..."""
    LAST_TOKEN = "lasttoken"  # noqa: S105 a value of the file format


@dataclass(frozen=True)
class Normalize:
    """Scales the vector to length 1."""


@dataclass(frozen=True)
class Dense:
    """A linear layer with an activation. Its weights are in `directory`."""

    directory: Path
    inputs: int
    outputs: int
    bias: bool
    activation: str
    """Full name of a class of torch, instantiated without arguments."""
    residual: bool
    """Whether the input is added to the output, through a second layer if their sizes differ."""


@dataclass(frozen=True)
class Cut:
    """Truncates to the first `outputs` dimensions (matryoshka), without normalizing again."""

    outputs: int


Step = Dense | Normalize | Cut


@dataclass(frozen=True)
class Modules:
    """The content of modules.json: the transformer's directory and the modules after it."""

    transformer: Path
    listed: Sequence[tuple[str, Path]]
    """Class name and directory of each module after the transformer."""
    custom: str | None = None
    """Class of the model's own code in place of Transformer."""
    splade: Path | None = None
    """Directory of SpladePooling in a sparse encoder, which has no other modules; else None."""
    static: bool = False
    """Whether the first module is StaticEmbedding, which includes the pooling, instead of a transformer."""
    default_task: str = "feature-extraction"
    """transformer_task of the transformer's class."""

    @classmethod
    def read(cls, directory: Path, *, trust_remote_code: bool) -> Self:
        """Read modules.json. Raises ModelRefused for modules that are not supported.

        `trust_remote_code`: the first module may be a class of the model's own code.
        """
        path = directory / "modules.json"
        modules = modules_in(directory)
        kinds = [kind for kind, _ in modules]
        names = [kind.rpartition(".")[2] for kind in kinds]
        directories = [where for _, where in modules]
        custom = kinds[0] if kinds and not _is_official(kinds[0]) else None
        if all(map(_is_official, kinds)) and names in _SPARSE:
            task = "fill-mask" if names[0] == "MLMTransformer" else cls.default_task
            return cls(directories[0], (), splade=directories[1], default_task=task)
        if all(map(_is_official, kinds)) and names[:1] == ["StaticEmbedding"] and set(names[1:]) <= {"Normalize"}:
            return cls(directories[0], list(zip(names[1:], directories[1:], strict=True)), static=True)
        if (
            not all(map(_is_official, kinds[1:]))
            or names[1:2] != ["Pooling"]
            or (custom is None and names[0] != "Transformer")
            or not set(names[2:]) <= {*_STEPS, "Dropout"}
        ):
            supported = "Transformer + Pooling (+ Dense, Normalize), StaticEmbedding (+ Normalize), and MLMTransformer"
            raise refused_modules(path, kinds, f"only {supported} + SpladePooling are supported")
        if custom is not None and not trust_remote_code:
            raise remote_code.needed(directory, f"{path} has type {custom!r}: a module of this kind")
        return cls(directories[0], list(zip(names[1:], directories[1:], strict=True)), custom)


def modules_in(directory: Path) -> Sequence[tuple[str, Path]]:
    """Class and directory of each module in modules.json. Raises ModelRefused."""
    path = directory / "modules.json"
    listed = json_in(path)
    try:
        return [(str(module["type"]), directory / _inside(path, module["path"])) for module in listed]
    except (KeyError, TypeError) as error:
        raise ModelRefused(f"{path} must be a list of modules with type and path") from error


def _inside(path: Path, relative: str) -> str:
    """Raises ModelRefused, or TypeError if it is not a text."""
    if Path(relative).is_absolute() or ".." in Path(relative).parts:
        raise ModelRefused(f"{path} has a module outside of the model's directory: {relative}")
    return relative


_SPARSE = (["MLMTransformer", "SpladePooling"], ["Transformer", "SpladePooling"])
"""Classes of the modules of a sparse encoder."""


def _is_official(kind: str) -> bool:
    return kind.startswith("sentence_transformers.")


@dataclass(frozen=True)
class Head:
    """Pooling and the steps after it."""

    pooling: tuple[Pooling, ...]
    """Several poolings are concatenated in this order."""
    include_prompt: bool
    """Whether pooling includes the tokens of the prompt."""
    steps: tuple[Step, ...]
    dimensions: int
    hidden: int
    """Size of a token's vector."""

    @classmethod
    def read(cls, listed: Sequence[tuple[str, Path]], *, output: str = "sentence_embedding") -> Self:
        """Raises ModelRefused. `output`: module_output_name of the modules after the pooling."""
        path = listed[0][1] / "config.json"
        config = object_in(path)
        pooling = _pooling(path, config)
        hidden = number(path, config, "embedding_dimension", "word_embedding_dimension")
        dimensions = hidden * len(pooling)
        steps = read_steps(listed[1:], output)
        for dense in (step for step in steps if isinstance(step, Dense)):
            if dense.inputs != dimensions:
                raise ModelRefused(
                    f"{dense.directory} has {dense.inputs} inputs, but the module before it has {dimensions} outputs"
                )
            dimensions = dense.outputs
        return cls(pooling, bool(config.get("include_prompt", True)), steps, dimensions, hidden)


_OLD_POOLING = {  # in the order in which sentence-transformers concatenates them
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def _pooling(path: Path, config: Mapping[str, Any]) -> tuple[Pooling, ...]:
    """The poolings; the default is mean, as in sentence-transformers."""
    if "pooling_mode" in config:
        given = config["pooling_mode"]
        modes = given if isinstance(given, list) else [given]
    else:
        modes = [mode for key, mode in _OLD_POOLING.items() if config.get(key)] or ["mean"]
    unknown = [str(mode) for mode in modes if mode not in tuple(Pooling)]  # by equality, since it may be a list
    if unknown or not modes:
        raise ModelRefused(
            f"{path} pools by {', '.join(unknown) or 'nothing'} (pooling_mode), but only {', '.join(Pooling)} are "
            "supported: use another model"
        )
    return tuple(Pooling(mode) for mode in modes)


def _dense(directory: Path, output: str) -> Dense:
    path = directory / "config.json"
    config = object_in(path)
    _check_operates_on_sentence(path, config, output)
    check_weights(directory)
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if not isinstance(activation, str) or not activation.startswith("torch.nn."):
        raise ModelRefused(
            f"{path} has activation_function {activation!r}, but only classes of torch.nn are supported, because "
            "others would run code of the model: use the class of torch that computes the same, or another model"
        )
    return Dense(
        directory=directory,
        inputs=number(path, config, "in_features"),
        outputs=number(path, config, "out_features"),
        bias=bool(config.get("bias", True)),
        activation=activation,
        residual=bool(config.get("use_residual")),
    )


def _normalize(directory: Path, output: str) -> Normalize:
    path = directory / "config.json"  # since 5.4
    _check_operates_on_sentence(path, object_or_nothing(path), output)
    return Normalize()


_STEPS: Mapping[str, Callable[[Path, str], Step]] = {"Dense": _dense, "Normalize": _normalize}


def read_steps(listed: Sequence[tuple[str, Path]], output: str = "sentence_embedding") -> tuple[Step, ...]:
    """Read the modules after the pooling, without Dropout, which is for training. Raises ModelRefused."""
    return tuple(_STEPS[name](where, output) for name, where in listed if name in _STEPS)


def _check_operates_on_sentence(path: Path, config: Mapping[str, Any], output: str) -> None:
    """Refuse modules that operate on token vectors, or return something else than `output`."""
    source = config.get("module_input_name") or "sentence_embedding"
    names = {"module_input_name": source, "module_output_name": config.get("module_output_name") or source}
    for (key, value), expected in zip(names.items(), ("sentence_embedding", output), strict=True):
        if value != expected:
            raise ModelRefused(
                f"{path} has {key} {value}, but only {expected} is supported: use a model "
                "whose modules after the pooling change the vector of the text"
            )
