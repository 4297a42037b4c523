"""Compares the frontend's tokenizer with that of transformers, which is the reference.

For some classes transformers changes what tokenizer.json says: BertTokenizer, for example, lower-cases according to
tokenizer_config.json, whatever the normalizer in tokenizer.json does. If the two differ, or the model has no
tokenizer.json, the tokenizer of transformers is converted to a tokenizer.json for the frontend, and compared again.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.chat_template import ChatTemplate
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.worker.backends.refusals import refused

__all__ = ["Checked", "check", "check_pairs", "reference"]

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
    """Properties of the tokenizer."""

    prompt_tokens: int
    """Number of tokens of the model's prompt, before those of the text."""
    types: bool
    """Whether it returns token types (zeros for a single text)."""


def check(spec: ModelSpec) -> Checked:
    """Ensure that the frontend has the tokens of sentence-transformers, if necessary with a converted tokenizer.

    Raises ModelRefused.
    """
    theirs = reference(spec)
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
    """Same as `check` for pairs of a cross-encoder. Returns whether there are token types. Raises ModelRefused."""
    theirs = reference(spec)
    pairs = [*pairwise(_PROBES), *((_LONG * n, _LONG * m) for n, m in ((9, 1), (1, 9), (9, 9)))]
    _agree(spec, theirs, pairs)
    return spec.chat is None and "token_type_ids" in theirs(*pairs[0])


_LONG = "one two "

_CUT = 32

Probe = str | tuple[str, str]


def _agree(spec: ModelSpec, theirs: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> None:
    """Ensure equal tokens, converting the tokenizer if necessary. Raises ModelRefused if that is not possible."""
    file = spec.tokenizer_file
    if file.is_file() and (different := _difference(spec, theirs, probes)) is None:
        return
    name = type(theirs).__name__
    why = (
        f"tokenizer.json in {spec.directory} and transformers' {name} return different tokens for {different!r}"
        if file.is_file()
        else f"{spec.directory} has no tokenizer.json"
    )
    _convert(spec, theirs, why)
    if (different := _difference(spec, theirs, probes)) is not None:
        raise ModelRefused(
            f"{why}, and a tokenizer.json converted from {name} returns different tokens for {different!r}, too: "
            "save the model with a tokenizer that tokenizer.json describes completely"
        )
    _log.warning("%s: using the tokenizer converted from %s", why, name)
    if (warning := TextTokenizer(spec).check_ids(spec.vocabulary)) is not None:
        _log.warning("%s", warning)


def _difference(spec: ModelSpec, theirs: PreTrainedTokenizerBase, probes: Sequence[Probe]) -> Probe | None:
    """The first probe with different tokens in transformers and the frontend. Raises ModelRefused."""
    ours = TextTokenizer(
        replace(spec, lower_case=False, prompt="")
    )  # lower-casing and prompts are added by the frontend only
    texts = [probe for probe in probes if isinstance(probe, str)]
    for text, ids in zip(texts, ours.encode(texts) if texts else (), strict=True):
        if not np.array_equal(ids, theirs(text)["input_ids"]):
            return text
    pairs = [probe for probe in probes if not isinstance(probe, str)]
    if not pairs:
        return None
    if spec.chat is not None:
        for given, ids in zip(pairs, ours.encode_pairs(pairs, prompt=spec.prompt), strict=True):
            if ids.tolist() != _with_chat(spec.chat, theirs, given, spec.prompt):
                return given
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


def _with_chat(
    chat: ChatTemplate, theirs: PreTrainedTokenizerBase, pair: tuple[str, str], instruction: str
) -> list[int]:
    """The tokens of a pair that transformers renders with the chat template."""
    arguments: dict[str, Any] = {**chat.arguments, "tokenize": True, "return_dict": True}
    found: Any = theirs.apply_chat_template(chat.messages(*pair, instruction), **arguments)
    ids: list[int] = found["input_ids"]
    return ids


def _convert(spec: ModelSpec, theirs: PreTrainedTokenizerBase, why: str) -> None:
    """Write the tokenizer of transformers to a tokenizer.json. Raises ModelRefused. `why`: reason of the conversion."""
    backend = getattr(theirs, "backend_tokenizer", None)
    remedy = "save the tokenizer with transformers (tokenizer.save_pretrained), and serve the model with that"
    if backend is None:
        raise ModelRefused(f"{why}, and transformers' {type(theirs).__name__} cannot be converted to one: {remedy}")
    target = spec.converted_tokenizer
    if target is None:
        raise ModelRefused(f"{why}, and there is no temporary directory to write one to: set TMPDIR, or {remedy}")
    mine = target.with_name(f"{target.name}.{os.getpid()}")
    try:
        _make_directory(target.parent)
        mine.write_text(backend.to_str(), encoding="utf-8")
        mine.replace(target)  # other workers write the same
    except OSError as error:
        raise ModelRefused(
            f"{why}, and {target} cannot be written: {error.strerror}; set TMPDIR, or {remedy}"
        ) from error


def _make_directory(path: Path) -> None:
    """Create a private directory. Raises OSError if it belongs to another user."""
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid():
        raise PermissionError(0, "it belongs to another user")


def reference(spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The tokenizer of transformers. Raises ModelRefused."""
    remedy = "" if spec.remote_code else " (code that comes with a model needs --trust_remote_code=true)"
    with refused(spec, f"transformers cannot load the tokenizer in {spec.directory}{remedy}"):
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            spec.directory, local_files_only=True, trust_remote_code=spec.remote_code
        )
        found("")  # it reads some settings only now
    return found
