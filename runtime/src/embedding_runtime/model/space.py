"""A name for the space that a model's vectors live in: equal names, and vectors may be compared.

It is a digest over what decides a vector: weights, tokenizer, architecture, the model's own code where that is run,
pooling, the steps after it, prompts, dimensions, and a type or quantization with less precision than float32. Not over
what moves a vector by float32's rounding only: backend, batches. Of a weights file it takes the size and 1,024 blocks
of 4 KiB, evenly spread (all of it, up to 4 MiB): training moves every tensor, so that two models differ in nearly every
block, and a model of 16 GB is named in the time of 1,024 small reads instead of a minute.
"""

import hashlib
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
"""The first pattern that has files: a model may come with its weights in several formats."""


def digest(spec: ModelSpec) -> str:
    """`sha256:` and 64 digits. Reads files; the same for the same model in another directory."""
    found = hashlib.sha256()
    denses = [step for step in spec.steps if isinstance(step, Dense)]
    said = {
        "pooling": spec.pooling,
        "include_prompt": spec.include_prompt,
        "steps": [f"{type(step).__name__} {_without_directory(step)}" for step in spec.steps],
        "lower_case": spec.lower_case,
        "prompt": spec.prompt,
        "prompts": dict(spec.prompts),
        "dimensions": spec.dimensions,
        "scores": str(spec.scores),
        **_precision(spec),
    }
    found.update(json.dumps(said, sort_keys=True).encode())
    for file in (spec.directory / "config.json", *_tokenizer(spec.directory)):
        found.update(file.read_bytes())
    for file in remote_code.modules(spec.directory) if spec.remote_code else ():
        found.update(file.read_bytes())
    for directory in (spec.directory, *(dense.directory for dense in denses)):
        for file in _weights(directory):
            for block in _sample(file):
                found.update(block)
    return f"sha256:{found.hexdigest()}"


def _tokenizer(directory: Path) -> list[Path]:
    """The model's own files. What is made of them at start has other bytes with every release of its library."""
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
"""What a tokenizer is made from where there is no tokenizer.json."""


def _precision(spec: ModelSpec) -> dict[str, str]:
    """Empty for float32, whose digests are those of servers that knew no other type."""
    found = {} if spec.dtype is Dtype.FLOAT32 else {"dtype": spec.dtype.value}
    return found if spec.quantize is Quantization.NONE else {**found, "quantize": spec.quantize.value}


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
