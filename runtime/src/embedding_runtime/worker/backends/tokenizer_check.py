"""transformers' own tokenizer against the front's: what it gives is the truth.

It rewrites what tokenizer.json says for some classes, where the front reads the file as it is: BertTokenizer, say,
lower-cases as tokenizer_config.json has it, whatever the normalizer in tokenizer.json does. Where the two differ, or
the model has no tokenizer.json, the one that transformers builds is written for the front, and proven as any other.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer

__all__ = ["Checked", "check", "check_pairs"]

_log = logging.getLogger(__name__)

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
    """The front's tokens are sentence-transformers' own, by a file in place of the model's where need be.

    Raises ModelRefused.
    """
    theirs = _theirs(spec)
    for text in _PROBES:
        if any(theirs(text).get("token_type_ids", ())):
            raise ModelRefused(f"{type(theirs).__name__} in {spec.directory} has token types, which are not supported")
    _agree(spec, theirs, _PROBES)
    types = "token_type_ids" in theirs("")
    (prompt,) = TextTokenizer(spec).encode([""])
    if not spec.prompt or not len(prompt):
        return Checked(0, types)
    ends_in_special = int(prompt[-1]) in theirs.all_special_ids  # which follows the text, not the prompt
    return Checked(len(prompt) - ends_in_special, types)


def check_pairs(spec: ModelSpec) -> bool:
    """Whether there are token types. As `check`, with CrossEncoder's pairs. Raises ModelRefused."""
    theirs = _theirs(spec)
    pairs = [*pairwise(_PROBES), *((_LONG * n, _LONG * m) for n, m in ((9, 1), (1, 9), (9, 9)))]
    _agree(spec, theirs, pairs)
    return "token_type_ids" in theirs(*pairs[0])


_LONG = "one two "

_CUT = 32

Probe = str | tuple[str, str]


def _agree(spec: ModelSpec, theirs: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> None:
    """Raises ModelRefused when the front would have other tokens, and nothing can be done about it."""
    file = spec.tokenizer_file
    if file.is_file() and (different := _difference(spec, theirs, probes)) is None:
        return
    name = type(theirs).__name__
    why = (
        f"tokenizer.json in {spec.directory} and transformers' {name} give different tokens for {different!r}"
        if file.is_file()
        else f"{spec.directory} has no tokenizer.json"
    )
    _convert(spec, theirs, why)
    if (different := _difference(spec, theirs, probes)) is not None:
        raise ModelRefused(
            f"{why}, and the tokenizer.json that is made of {name} gives others than {name} for {different!r}: "
            "save the model with a tokenizer whose tokenizer.json does all of its work"
        )
    _log.warning("%s: texts are tokenized as %s does", why, name)
    if (warning := TextTokenizer(spec).check_ids(spec.vocabulary)) is not None:
        _log.warning("%s", warning)


def _difference(spec: ModelSpec, theirs: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> Probe | None:
    """The first for which transformers has other tokens than the front would have. Raises ModelRefused."""
    ours = TextTokenizer(replace(spec, lower_case=False, prompt=""))  # what is ours alone needs no comparing
    texts = [probe for probe in probes if isinstance(probe, str)]
    for text, ids in zip(texts, ours.encode(texts) if texts else (), strict=True):
        if not np.array_equal(ids, theirs(text)["input_ids"]):
            return text
    pairs = [probe for probe in probes if not isinstance(probe, str)]
    if not pairs:
        return None
    length = min(spec.max_length, _CUT)
    found = theirs(list(map(list, pairs)), truncation="longest_first", max_length=length)
    types = found.get("token_type_ids")
    for place, pair in enumerate(ours.encode_pairs(pairs, cut_to=length).singles()):
        same = np.array_equal(pair.ids, found["input_ids"][place])
        own = np.zeros(pair.tokens, np.uint8) if pair.types is None else pair.types
        if not same or (types is not None and not np.array_equal(own != 0, np.array(types[place]) != 0)):
            return pairs[place]
    return None


def _convert(spec: ModelSpec, theirs: PreTrainedTokenizerBase, why: str) -> None:
    """Write down what transformers has built. Raises ModelRefused; `why` it has to be."""
    made = getattr(theirs, "backend_tokenizer", None)
    remedy = "save the tokenizer with transformers (tokenizer.save_pretrained), and serve the model with that"
    if made is None:
        raise ModelRefused(f"{why}, and transformers' {type(theirs).__name__} cannot be written as one: {remedy}")
    target = spec.converted_tokenizer
    if target is None:
        raise ModelRefused(f"{why}, and there is no temporary directory to write one to: set TMPDIR, or {remedy}")
    mine = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        _make_directory(target.parent)
        mine.write_text(made.to_str(), encoding="utf-8")
        mine.replace(target)  # other workers write the same
    except OSError as error:
        raise ModelRefused(
            f"{why}, and {target} cannot be written: {error.strerror}; set TMPDIR, or {remedy}"
        ) from error


def _make_directory(path: Path) -> None:
    """Ours alone. Raises OSError for somebody else's."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise PermissionError(0, "it belongs to somebody else")


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
