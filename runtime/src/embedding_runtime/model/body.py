"""Reads the files of the transformer: maximum length, tokenizer settings, type of weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from embedding_runtime.contract import Dtype, Kind
from embedding_runtime.model import arguments
from embedding_runtime.model.files import (
    ModelRefused,
    check_weights,
    number,
    object_in,
    object_or_nothing,
    typed,
    weights_dtype,
)

__all__ = ["Body", "Side", "architecture_in", "architecture_of", "read_sentence_config"]


class Side(StrEnum):
    """A side of a text, with transformers' names."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True)
class Body:
    """Properties of the transformer and its tokenizer."""

    max_length: int
    vocabulary: int
    padding: int | None
    """Id of the padding token, for models in which it shifts positions."""
    cut_side: Side
    """Side at which the tokenizer truncates."""
    lower_case: bool
    dtype: Dtype
    architecture: str
    """Class of the model in transformers; empty if config.json does not have it."""
    causal: bool
    """Whether it is a causal language model, according to `architecture`."""

    @classmethod
    def read(cls, directory: Path, settings: Mapping[str, Any]) -> Self:
        """`settings`: the result of `read_sentence_config`. Raises ModelRefused."""
        path = directory / "config.json"
        config = object_in(path)
        architecture = architecture_of(path, config)
        check_weights(directory)
        return cls(
            max_length=_max_length(directory, settings, config),
            vocabulary=number(path, config, "vocab_size"),
            padding=_shifting_padding(path, config),
            cut_side=_cut_side(directory, settings),
            lower_case=bool(settings.get("do_lower_case")),
            dtype=_dtype(directory, settings, config),
            architecture=architecture,
            causal=architecture.endswith("ForCausalLM") and bool(config.get("is_causal", True)),
        )


def architecture_in(directory: Path) -> str:
    """The class of the model in transformers; empty if config.json does not have it. Raises ModelRefused."""
    path = directory / "config.json"
    return architecture_of(path, object_in(path))


def architecture_of(path: Path, config: Mapping[str, Any]) -> str:
    """Same, for the content of config.json, which is at `path`."""
    found = next(iter(typed(path, config, "architectures", [])), "")
    if not isinstance(found, str):
        raise ModelRefused(f"{path} has architectures {[found]}, which must be names of classes")
    return found


def read_sentence_config(
    directory: Path,
    kind: Kind,
    *,
    task: str | None = None,
    default_task: str = "feature-extraction",
    has_own_module: bool = False,
) -> Mapping[str, Any]:
    """Read sentence_bert_config.json. Raises ModelRefused for settings that are not supported.

    `task`: the supported transformer_task; None: that of the kind. `default_task`: transformer_task of the module's
    class. `has_own_module`: arguments are for a module of the model's own code, which interprets them. For a
    cross-encoder with a chat template, the result has `message` and `chat_template` (see `ChatTemplate.read`).
    """
    files = sorted(directory.glob("sentence_*_config.json"))  # formerly also sentence_roberta_config.json and others
    if not files:
        return {}
    file = files[0]
    config = object_in(file)
    task = task or _TASKS[kind]
    result, output = _OUTPUTS[task]
    text = {"method": "forward", "method_output_name": result}
    modalities = config.get("modality_config", {"text": text})
    message = modalities.get("message") if isinstance(modalities, dict) else None
    processing = config.get("processing_kwargs") or {}
    unsupported = []
    if processing and (message is None or not isinstance(processing, dict) or processing.keys() != {"chat_template"}):
        unsupported.append("processing_kwargs")
    if config.get("query_expansion"):
        unsupported.append("query_expansion")
    if config.get("transformer_task", default_task) != task:
        unsupported.append("transformer_task")
    if (
        not isinstance(modalities, dict)
        or modalities.get("text") != text
        or config.get("module_output_name", output) != output
    ):
        unsupported.append("modality_config")
    elif message is not None and kind is not Kind.CROSS_ENCODER:
        unsupported.append("modality_config.message (a chat template around every text)")
    elif message is not None and not (
        isinstance(message, dict) and message | text == message and message.get("format", "auto") in _FORMS
    ):
        unsupported.append("modality_config.message")
    if unsupported:
        raise ModelRefused(
            f"{file} sets {', '.join(unsupported)}, which is not supported, because it changes vectors: "
            "use a model without it, or sentence-transformers in the client"
        )
    known = {name: config[name] for name in ("do_lower_case", "max_seq_length") if name in config}
    if message is not None:
        known |= {"message": message, "chat_template": processing.get("chat_template") or {}}
    return known if has_own_module else {**known, **arguments.overrides(file, config, kind)}


_TASKS = {
    Kind.EMBEDDING_MODEL: "feature-extraction",
    Kind.SPARSE_ENCODER: "fill-mask",
    Kind.CROSS_ENCODER: "sequence-classification",
}
"""transformer_task of each kind; a cross-encoder may have another one."""

_OUTPUTS = {
    "feature-extraction": ("last_hidden_state", "token_embeddings"),
    "fill-mask": ("logits", "token_embeddings"),
    "sequence-classification": ("logits", "scores"),
    "text-generation": ("logits", "causal_logits"),
}
"""Supported values of method_output_name and module_output_name by transformer_task."""

_FORMS = ("auto", "flat", "structured")
"""Values of modality_config.message.format."""


def _max_length(directory: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """The limit of sentence_bert_config, or of the tokenizer, but at most the number of positions."""
    limits = [settings.get("max_seq_length")]
    if limits == [None]:
        limits = [object_or_nothing(directory / "tokenizer_config.json").get("model_max_length")]
    positions = config.get("max_position_embeddings", config.get("n_positions"))
    padding = _shifting_padding(directory / "config.json", config)
    if padding is not None and isinstance(positions, int):
        positions -= padding + 1
    limits.append(positions)
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT]
    if not known:
        raise ModelRefused(
            f"{directory} does not define a maximum length: set max_seq_length in sentence_bert_config.json, "
            "model_max_length in tokenizer_config.json or max_position_embeddings in config.json"
        )
    return min(known)


def _shifting_padding(path: Path, config: Mapping[str, Any]) -> int | None:
    if typed(path, config, "model_type", "") not in _POSITIONS_AFTER_PADDING:
        return None
    found = config.get("pad_token_id", 1)
    if not isinstance(found, int) or isinstance(found, bool):
        raise ModelRefused(f"{path} has pad_token_id {found!r}, which must be a whole number")
    return found


def _cut_side(directory: Path, settings: Mapping[str, Any]) -> Side:
    path = directory / "tokenizer_config.json"
    side = settings.get("truncation_side", object_or_nothing(path).get("truncation_side", Side.RIGHT))
    if side not in tuple(Side):  # by equality, since it may be a list
        raise ModelRefused(f"{path} has truncation_side {side!r}, which must be left or right")
    return Side(side)


_NO_LIMIT = 10**9
"""Tokenizers without a limit have 10**30."""

_POSITIONS_AFTER_PADDING = frozenset(
    {"camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta"}
    | {"xlm-roberta-xl", "xmod"}
)
"""Model types whose first position follows the padding's id, so that two of 514 positions are never used."""


def _dtype(directory: Path, settings: Mapping[str, Any], config: Mapping[str, Any]) -> Dtype:
    """The type in model_args; else as transformers' `dtype="auto"`: in config.json, or of the first float weight.

    float32 if config.json has none and the weights are in another format or in several files.
    """
    named = settings.get("dtype") or config.get("dtype") or config.get("torch_dtype")
    named = named or weights_dtype(directory / "model.safetensors") or Dtype.FLOAT32
    if not isinstance(named, str):
        raise ModelRefused(f"{directory / 'config.json'} has dtype {named!r}, which must be a text")
    if named not in set(Dtype) or named == Dtype.AUTO:
        raise ModelRefused(f"the weights in {directory} are {named}: set --dtype to float32, float16 or bfloat16")
    return Dtype(named)
