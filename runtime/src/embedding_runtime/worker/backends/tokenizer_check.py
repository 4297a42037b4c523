"""transformers' own tokenizer against ours: it rewrites what tokenizer.json says for some classes, ours reads it as is.

BertTokenizer, say, lower-cases as tokenizer_config.json has it, whatever the normalizer in tokenizer.json does.
"""

from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer

__all__ = ["Checked", "check", "check_pairs"]

_PROBES = (
    "The quick Brown fox, 42 times.",
    "Ünïcödé ÅΣß — «naïve» ﬁne",
    "你好，世界 こんにちは 안녕",
    " two  spaces\nand\ttabs ",
    "🙂 don't a_b-c/d <x@y.z>",
    "",
)


class Checked(NamedTuple):
    """What the tokenizer does beside giving token ids."""

    prompt_tokens: int
    """How many the model's prompt has, before the first of the text."""
    types: bool
    """Whether it gives token types, zeros for a single text."""


def check(spec: ModelSpec) -> Checked:
    """Raises ModelRefused when the front's tokens would not be sentence-transformers' own."""
    theirs = _theirs(spec)
    plain = TextTokenizer(replace(spec, lower_case=False, prompt=""))  # what is ours alone needs no comparing
    for text, ids in zip(_PROBES, plain.encode(_PROBES), strict=True):
        found = theirs(text)
        if any(found.get("token_type_ids", ())):
            raise ModelRefused(f"{type(theirs).__name__} in {spec.directory} has token types, which are not supported")
        if not np.array_equal(ids, found["input_ids"]):
            raise _differ(spec, theirs, text)
    types = "token_type_ids" in theirs("")
    (prompt,) = TextTokenizer(spec).encode([""])
    if not spec.prompt or not len(prompt):
        return Checked(0, types)
    ends_in_special = int(prompt[-1]) in theirs.all_special_ids  # which follows the text, not the prompt
    return Checked(len(prompt) - ends_in_special, types)


def check_pairs(spec: ModelSpec) -> bool:
    """Whether there are token types. Raises ModelRefused when the front's pairs would not be CrossEncoder's own."""
    theirs = _theirs(spec)
    plain = TextTokenizer(replace(spec, lower_case=False, prompt=""))
    pairs = [*pairwise(_PROBES), *((_LONG * n, _LONG * m) for n, m in ((9, 1), (1, 9), (9, 9)))]
    length = min(spec.max_length, _CUT)
    found = theirs(list(map(list, pairs)), truncation="longest_first", max_length=length)
    types = found.get("token_type_ids")
    for place, pair in enumerate(plain.encode_pairs(pairs, cut_to=length).singles()):
        same = np.array_equal(pair.ids, found["input_ids"][place])
        own = np.zeros(pair.tokens, np.uint8) if pair.types is None else pair.types
        if not same or (types is not None and not np.array_equal(own != 0, np.array(types[place]) != 0)):
            raise _differ(spec, theirs, pairs[place])
    return types is not None


_LONG = "one two "

_CUT = 32


def _theirs(spec: ModelSpec) -> PreTrainedTokenizerBase:
    try:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            spec.directory, local_files_only=True, trust_remote_code=spec.remote_code
        )
    except (ImportError, OSError, ValueError) as error:  # its words for a class that it lacks, and for what that lacks
        remedy = "" if spec.remote_code else " (code that comes with a model needs --trust_remote_code=true)"
        raise ModelRefused(
            f"transformers cannot load the tokenizer in {spec.directory}{remedy}: {' '.join(str(error).split())}"
        ) from error
    return found


def _differ(spec: ModelSpec, theirs: PreTrainedTokenizerBase, given: object) -> ModelRefused:
    return ModelRefused(
        f"tokenizer.json in {spec.directory} and transformers' {type(theirs).__name__} return different tokens "
        f"for {given!r}: save the tokenizer with transformers (tokenizer.save_pretrained), so that the two agree"
    )
