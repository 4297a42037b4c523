"""Reads `model_args`, `tokenizer_args` and `config_args` of sentence_bert_config.json, and their newer names.

sentence-transformers passes them to transformers' `from_pretrained`. Arguments that do not affect vectors are ignored,
those that override values of other files are applied, and all others are refused by name.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from embedding_runtime.contract import Kind
from embedding_runtime.model.files import ModelRefused

__all__ = ["overrides"]

Accepts = Callable[[object], bool]


def overrides(file: Path, config: Mapping[str, Any], kind: Kind) -> Mapping[str, Any]:
    """Return the arguments that override values of other files: `dtype`, `max_seq_length`, `truncation_side`.

    `config`: the content of `file`. Raises ModelRefused that lists the unsupported arguments.
    """
    refused: list[str] = []
    found: dict[str, Any] = {}
    for group, name, value in _arguments(file, config):
        if value is None or _accepts(group, name, kind)(value):
            continue
        if isinstance(value, _OVERRIDES.get((_GROUPS[group], name), ())) and not isinstance(value, bool):
            found[_OTHER_NAMES.get(name, name)] = value
        else:
            refused.append(f"{group}.{name} to {json.dumps(value)}")
    if refused:
        raise ModelRefused(
            f"{file} sets {', '.join(refused)}, which is not supported, because it may change vectors: if it does not, "
            "remove it from the file; if it does, set it in the model's config.json or tokenizer_config.json instead"
        )
    return found


_GROUPS: Mapping[str, str] = {
    "model_args": "model",
    "model_kwargs": "model",
    "tokenizer_args": "tokenizer",
    "processor_kwargs": "tokenizer",
    "config_args": "config",
    "config_kwargs": "config",
}


def _arguments(file: Path, config: Mapping[str, Any]) -> Iterator[tuple[str, str, object]]:
    """Group, name and value of each argument."""
    for group in _GROUPS:
        given = config.get(group) or {}
        if not isinstance(given, dict):
            raise ModelRefused(f"{file} has {group} {given!r}, which must be an object")
        for name, value in given.items():
            yield group, name, value


def _anything(_: object) -> bool:
    return True


def _one_of(*values: object) -> Accepts:
    return lambda value: any(value is each or (isinstance(value, str) and value == each) for each in values)


_HUB = dict.fromkeys(
    ("cache_dir", "code_revision", "local_files_only", "revision", "subfolder", "token", "trust_remote_code"), _anything
)
"""sentence-transformers overrides these; the initializer downloads the code of code_revision."""

_ATTENTION = _one_of("eager", "sdpa", "flash_attention_2", "flash_attention_3")
"""Implementations of attention with equal results."""

_ACCEPTED: Mapping[str, Mapping[str, Accepts]] = {
    "model": {
        **_HUB,
        "attn_implementation": _ATTENTION,
        # placement and loading of weights
        **dict.fromkeys(("device_map", "low_cpu_mem_usage", "max_memory", "offload_folder"), _anything),
        "use_safetensors": _one_of(True),
        "dtype": _one_of("auto"),
        "torch_dtype": _one_of("auto"),
    },
    "tokenizer": {
        **_HUB,
        "clean_up_tokenization_spaces": _anything,  # only for decoding
        "padding_side": _one_of("left", "right"),  # single texts are not padded
        "use_fast": _one_of(True),
    },
    "config": {**_HUB, "attn_implementation": _ATTENTION, "use_cache": _one_of(True, False)},
}

_OVERRIDES: Mapping[tuple[str, str], type] = {
    ("model", "dtype"): str,
    ("model", "torch_dtype"): str,
    ("tokenizer", "model_max_length"): int,
    ("tokenizer", "truncation_side"): str,
}

_OTHER_NAMES = {"torch_dtype": "dtype", "model_max_length": "max_seq_length"}
"""Names of the same setting in other files."""


def _accepts(group: str, name: str, kind: Kind) -> Accepts:
    if name == "add_pooling_layer" and kind is Kind.EMBEDDING_MODEL:
        return _anything  # transformers' own pooler is not used for vectors
    return _ACCEPTED[_GROUPS[group]].get(name, lambda _: False)
