"""Compares the numbers in config.json with the weights, before a library builds a model of that size.

transformers creates a layer for each number in `num_hidden_layers`, and memory for each weight that does not fit,
before it reports what is wrong. So nothing is built that is far larger than the weights. What is slightly wrong is left
to the library, which knows the architecture.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from embedding_runtime.model.files import ModelRefused, object_in, tensors_in

__all__ = ["check_sizes"]

_LAYERS = re.compile(r"(?:.*_)?(?:layers?|blocks|groups|depth)")
"""Fields that count modules: num_hidden_layers, n_layer, encoder_layers, num_hidden_groups."""

_SIZES = re.compile(r"(?:.*_)?(?:sizes?|dims?|embd|inner|heads?|experts|labels|buckets|rank)|d_[a-z]+|pad_token_id")
"""Fields of dimensions of weights, their divisors and rows: vocab_size, d_model, num_attention_heads, pad_token_id."""

_POSITIONS = re.compile(r"n_positions|(?:.*_)?position_embeddings")

_SHARED = 64
"""So many layers may share weights, as ALBERT's do, or be missing, which transformers reports."""

_UNLEARNED = 1 << 20
"""So many positions may be computed instead of learned."""

_NUMBER = re.compile(r"\d+")


def check_sizes(directory: Path) -> None:
    """Raises ModelRefused for a number in config.json that the safetensors beside it cannot have. Ignores pickles."""
    path = directory / "config.json"
    files = sorted(directory.glob("model*.safetensors"))
    tensors = {name: tensor for file in files for name, tensor in tensors_in(file).items()}
    if not tensors:
        return
    layers = 1 + max((int(number) for name in tensors for number in _NUMBER.findall(name)), default=0)
    largest = max((size for tensor in tensors.values() for size in tensor.shape), default=0)
    for field, value in _numbers(object_in(path)):
        if _LAYERS.fullmatch(field) and value > max(layers, _SHARED):
            has = f"are of {layers} layers"
        elif _SIZES.fullmatch(field) and value > largest:
            has = f"have no dimension above {largest}"
        elif _POSITIONS.fullmatch(field) and value > max(largest, _UNLEARNED):
            has = f"have no dimension above {largest}, and more than {_UNLEARNED} positions are not supported"
        else:
            continue
        raise ModelRefused(
            f"{path} has {field} {value}, but the weights beside it {has}: use the config.json that was saved with them"
        )


def _numbers(config: object, field: str = "") -> Iterator[tuple[str, int]]:
    """Whole numbers with their fields, also those in lists and in the configurations of parts."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _numbers(value, key)
    elif isinstance(config, list):
        for value in config:
            yield from _numbers(value, field)
    elif isinstance(config, int):
        yield field, config
