"""Identifies the vector space of a model. Vectors of equal spaces are comparable.

The identifier is a hash of everything that determines a vector: weights, tokenizer, architecture, the model's own code
if it runs, pooling, the steps after it, layers for other outputs, prompts, dimensions, and a type or quantization with
less precision than float32. It does not include backend and batches, which change vectors by float32's rounding only.
Of a weights file it includes the size and 1,024 evenly spaced blocks of 4 KiB (a file of up to 4 MiB completely):
training changes every tensor, so that two models differ in nearly every block. A model of 16 GB takes 1,024 small reads
instead of a minute.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import remote_code
from embedding_runtime.model.head import Dense
from embedding_runtime.model.spec import ModelSpec

__all__ = ["digest"]

_BLOCK = 4096
_BLOCKS = 1024

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
"""The first pattern with files is used: a model may have its weights in several formats."""


def digest(spec: ModelSpec) -> str:
    """Return `sha256:` and 64 hex digits. Reads files. Independent of the model's directory."""
    found = hashlib.sha256()
    denses = [step for step in spec.steps if isinstance(step, Dense)]
    settings = {
        "pooling": spec.pooling,
        "include_prompt": spec.include_prompt,
        "steps": [f"{type(step).__name__} {_without_directory(step)}" for step in spec.steps],
        "lower_case": spec.lower_case,
        "prompt": spec.prompt,
        "prompts": dict(spec.prompts),
        "dimensions": spec.dimensions,
        "scores": str(spec.scores),
        **({} if spec.splade is None else {"splade": str(spec.splade)}),
        **({} if spec.scores is None or spec.scores.tokens is None else {"tokens": str(spec.scores.tokens)}),
        **({} if spec.chat is None else {"chat": str(spec.chat)}),
        **_own_module(spec),
        **_precision(spec),
    }
    found.update(json.dumps(settings, sort_keys=True).encode())
    config = () if spec.static else (spec.directory / "config.json",)
    for file in (*config, *_tokenizer(spec.directory)):
        found.update(file.read_bytes())
    for file in remote_code.modules(spec.root) if spec.remote_code else ():
        found.update(file.read_bytes())
    weights = [_weights(directory) for directory in (spec.directory, *(dense.directory for dense in denses))]
    for file in itertools.chain(*weights, spec.token_heads.files.values()):
        for block in _sample(file):
            found.update(block)
    return f"sha256:{found.hexdigest()}"


def _tokenizer(directory: Path) -> list[Path]:
    """The model's own files: a tokenizer.json that is created from them may differ between releases of transformers."""
    whole = directory / "tokenizer.json"
    if whole.is_file():
        return [whole]
    return [file for name in _VOCABULARIES if (file := directory / name).is_file()]


_VOCABULARIES = (
    *("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *(
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "sentencepiece.bpe.model",
        "spiece.model",
        "tokenizer.model",
        "spm.model",
    ),
)
"""Files of a tokenizer without tokenizer.json."""


def _precision(spec: ModelSpec) -> dict[str, str]:
    """Empty for float32, so that its hashes equal those of earlier releases."""
    found = {} if spec.dtype is Dtype.FLOAT32 else {"dtype": spec.dtype.value}
    return found if spec.quantize is Quantization.NONE else {**found, "quantize": spec.quantize.value}


def _own_module(spec: ModelSpec) -> dict[str, str]:
    """The class of the model's own module and its arguments; empty without one."""
    if spec.custom_module is None:
        return {}
    files = sorted(spec.directory.glob("sentence_*_config.json"))
    return {"custom_module": spec.custom_module, "arguments": files[0].read_text() if files else ""}


def _without_directory(step: object) -> str:
    return str(sorted((name, value) for name, value in vars(step).items() if name != "directory"))


def _weights(directory: Path) -> list[Path]:
    return next((files for pattern in _WEIGHTS if (files := sorted(directory.glob(pattern)))), [])


def _sample(file: Path) -> Iterator[bytes]:
    size = file.stat().st_size
    yield str(size).encode()
    step = max(_BLOCK, (size - _BLOCK) // (_BLOCKS - 1))
    with file.open("rb") as stream:
        for start in range(0, size, step):
            stream.seek(start)
            yield stream.read(_BLOCK)
