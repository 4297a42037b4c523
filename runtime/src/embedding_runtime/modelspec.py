"""What a model's own files say a vector is: pooling, normalization, lengths, types. Nothing here is guessed.

Read from the directory that sentence-transformers saves, in its old format (`pooling_mode_mean_tokens: true`) and its
new one (`pooling_mode: mean`). What the files ask for and no backend does yet is refused by name, never left out:
`SentenceTransformer(directory).encode(text)` is the reference for every vector that is served.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from embedding_runtime.contract import Dtype

__all__ = ["ModelRefused", "ModelSpec", "Pooling"]


class ModelRefused(Exception):
    """A model, or a wish for it, that cannot be served exactly. The message names the file and what it says."""


class Pooling(StrEnum):
    """How a text's token vectors become one, in sentence-transformers' words."""

    CLS = "cls"
    MEAN = "mean"
    LAST_TOKEN = "lasttoken"  # noqa: S105 a word of the file format


@dataclass(frozen=True)
class ModelSpec:
    """One model as it is to be served; the same for the front, which tokenizes, and for every backend."""

    directory: Path
    pooling: Pooling
    normalize: bool
    dimensions: int
    max_length: int
    """Longest input in tokens, special ones included."""
    vocabulary: int
    """Token ids are below this."""
    lower_case: bool
    """Lower-case the text before the tokenizer's own normalizer."""
    dtype: Dtype
    """Of the weights while they compute; never AUTO."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises ModelRefused."""
        modules = _modules(directory)
        transformer = _transformer(directory, modules["Transformer"])
        pooling = _object(directory / modules["Pooling"] / "config.json")
        config = _object(directory / "config.json")
        return cls(
            directory=directory,
            pooling=_pooling(directory, pooling),
            normalize="Normalize" in modules,
            dimensions=_number(directory / modules["Pooling"] / "config.json", pooling, *_DIMENSIONS),
            max_length=_max_length(directory, transformer, config),
            vocabulary=_number(directory / "config.json", config, "vocab_size"),
            lower_case=bool(transformer.get("do_lower_case")),
            dtype=_dtype(directory, config),
        )

    def limited(self, *, max_length: int | None, dtype: Dtype) -> Self:
        """As the flags ask: a shorter longest input (None: as it is), another type (auto: as it is).

        Raises ModelRefused when the model cannot take inputs that long.
        """
        if max_length is not None and max_length > self.max_length:
            raise ModelRefused(
                f"--max_length={max_length} is more than the model in {self.directory} takes: {self.max_length} tokens"
            )
        return replace(
            self,
            max_length=self.max_length if max_length is None else max_length,
            dtype=self.dtype if dtype is Dtype.AUTO else dtype,
        )


_SERVED_MODULES = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])


def _modules(directory: Path) -> dict[str, str]:
    """Class name of each module -> its directory."""
    if not directory.is_dir():
        raise ModelRefused(f"{directory} is not a directory: there is no model in it")
    path = directory / "modules.json"
    if not path.is_file():
        raise ModelRefused(f"{path} is missing: only models that sentence-transformers saved are served")
    listed = _json(path)
    try:
        modules = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in listed}
        official = all(str(module["type"]).startswith("sentence_transformers.") for module in listed)
    except (KeyError, TypeError) as error:
        raise ModelRefused(f"{path} is not a list of modules with their type and path") from error
    if list(modules) not in _SERVED_MODULES or len(listed) != len(modules) or not official:
        kinds = " + ".join(str(module["type"]) for module in listed)
        raise ModelRefused(f"{path} has {kinds}: only Transformer + Pooling (+ Normalize) is served")
    defaults = directory / "config_sentence_transformers.json"
    prompt = _object(defaults).get("default_prompt_name") if defaults.is_file() else None
    if prompt is not None:
        raise ModelRefused(f"{defaults} asks for the prompt {prompt!r} before every text: prompts are not served")
    return modules


def _transformer(directory: Path, path: str) -> Mapping[str, Any]:
    """sentence_bert_config.json, once it is sure that it asks for nothing that changes vectors unseen."""
    files = sorted((directory / path).glob("sentence_*_config.json"))  # of old: sentence_roberta_config.json and so on
    if not files:
        return {}
    file = files[0]
    config = _object(file)
    extras = ("model_args", "model_kwargs", "tokenizer_args", "processor_kwargs", "config_args", "config_kwargs")
    asked = [name for name in (*extras, "processing_kwargs", "query_expansion") if config.get(name)]
    if config.get("transformer_task", "feature-extraction") != "feature-extraction":
        asked.append("transformer_task")
    if asked:
        raise ModelRefused(f"{file} sets {', '.join(asked)}, which is not served")
    return config


_OLD_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def _pooling(directory: Path, config: Mapping[str, Any]) -> Pooling:
    """With the defaults of sentence-transformers' own loader: mean where nothing is said."""
    if "pooling_mode" in config:
        given = config["pooling_mode"]
        modes = [given] if isinstance(given, str) else list(given)
    else:
        modes = [mode for key, mode in _OLD_POOLING.items() if config.get(key)] or ["mean"]
    if len(modes) != 1 or modes[0] not in set(Pooling):
        raise ModelRefused(f"{directory} pools by {' + '.join(modes)}: only one of {', '.join(Pooling)} is served")
    return Pooling(modes[0])


def _max_length(directory: Path, transformer: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """sentence_bert_config's word, else the tokenizer's; never more than the model has positions for."""
    limits = [transformer.get("max_seq_length")]
    tokenizer = directory / "tokenizer_config.json"
    if limits == [None] and tokenizer.is_file():
        limits = [_object(tokenizer).get("model_max_length")]
    limits.append(config.get("max_position_embeddings"))
    known = [int(limit) for limit in limits if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT]
    if not known:
        raise ModelRefused(
            f"{directory} does not say how long an input may be: no max_seq_length in sentence_bert_config.json, "
            "no model_max_length in tokenizer_config.json, no max_position_embeddings in config.json"
        )
    return min(known)


_NO_LIMIT = 10**9
"""tokenizers write 10**30 for: no limit."""


def _dtype(directory: Path, config: Mapping[str, Any]) -> Dtype:
    """As transformers' `dtype="auto"`: what config.json says, else the type of the first floating weight."""
    named = config.get("dtype") or config.get("torch_dtype")
    if named is None:
        named = _dtype_of_weights(directory / "model.safetensors")
    if named not in set(Dtype) or named == Dtype.AUTO:
        raise ModelRefused(f"the weights in {directory} are {named}: set --dtype to float32, float16 or bfloat16")
    return Dtype(named)


_SAFETENSORS_TYPES = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}


def _dtype_of_weights(path: Path) -> str:
    """float32 for weights in another format, or in several files without a word in config.json."""
    if not path.is_file():
        return Dtype.FLOAT32
    try:
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
    except (struct.error, ValueError, OverflowError, MemoryError) as error:
        raise ModelRefused(f"{path} is not a safetensors file: {error}") from error
    kinds = (entry.get("dtype") for name, entry in header.items() if name != "__metadata__")
    return next((_SAFETENSORS_TYPES[kind] for kind in kinds if kind in _SAFETENSORS_TYPES), Dtype.FLOAT32)


_DIMENSIONS = ("embedding_dimension", "word_embedding_dimension")  # the new format's name and the old one's


def _number(path: Path, config: Mapping[str, Any], *keys: str) -> int:
    """The first of the keys that is there."""
    value = next((config[key] for key in keys if key in config), None)
    if not isinstance(value, int) or value < 1:
        raise ModelRefused(f"{path} has no {' or '.join(keys)}: it is not a text model's")
    return value


def _object(path: Path) -> Mapping[str, Any]:
    found = _json(path)
    if not isinstance(found, dict):
        raise ModelRefused(f"{path} is not a JSON object")
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelRefused(f"{path} cannot be read: {error}") from error
