"""What AutoTokenizer gives is what texts are tokenized with: by the model's tokenizer.json, or by one that is made."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from support.models import packaged_minilm
from support.services import MINILM

pytest.importorskip("transformers")
old = pytest.importorskip("support.old_tokenizers")
tokenizer_check = pytest.importorskip("embedding_runtime.worker.backends.tokenizer_check")

TEXTS = ["The Quick fox", "ÜBER 2 dogs, and: 'more'", "你好", "x" * 50, ""]


def a_spec(directory: Path, name: str = "vocab.txt") -> ModelSpec:
    """A model with one of the old tokenizers, and a place for a new one."""
    kind, age = old.OLD_TOKENIZERS[name]
    model = directory / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps({"model_type": kind, "vocab_size": 200}))
    age(model)
    return replace(MINILM, directory=model, vocabulary=200, converted_tokenizer=directory / "made" / "tokenizer.json")


@pytest.mark.parametrize("name", old.OLD_TOKENIZERS)
def test_an_old_tokenizer_returns_the_tokens_of_transformers(tmp_path: Path, name: str) -> None:
    spec = a_spec(tmp_path, name)
    tokenizer_check.check(spec)
    theirs = tokenizer_check.AutoTokenizer.from_pretrained(spec.directory)
    for text, ids in zip(TEXTS, TextTokenizer(spec).encode(TEXTS), strict=True):
        assert ids.tolist() == theirs(text)["input_ids"]


@pytest.mark.parametrize("name", old.OLD_TOKENIZERS)
def test_an_old_tokenizer_returns_the_pairs_of_transformers(tmp_path: Path, name: str) -> None:
    spec = a_spec(tmp_path, name)
    tokenizer_check.check_pairs(spec)
    theirs = tokenizer_check.AutoTokenizer.from_pretrained(spec.directory)
    (found,) = TextTokenizer(spec).encode_pairs([("The Quick", "fox")])
    assert np.array_equal(found, theirs("The Quick", "fox")["input_ids"])


def test_a_tokenizer_that_transformers_does_not_change_is_used(tmp_path: Path) -> None:
    made = tmp_path / "made" / "tokenizer.json"
    tokenizer_check.check(replace(MINILM, converted_tokenizer=made))
    assert not made.exists()


def test_without_a_temporary_directory_the_model_is_refused_with_a_remedy(tmp_path: Path) -> None:
    spec = replace(a_spec(tmp_path), converted_tokenizer=None)
    with pytest.raises(ModelRefused, match=r"has no tokenizer.json, and there is no temporary .* set TMPDIR, or save"):
        tokenizer_check.check(spec)


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "made").write_text("a file")
    with pytest.raises(ModelRefused, match=r"made/tokenizer.json cannot be written: File exists"):
        tokenizer_check.check(a_spec(tmp_path))


def test_a_python_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    spec = a_spec(tmp_path)
    old.without_tokenizer(spec.directory)
    (spec.directory / "config.json").write_text(json.dumps({"model_type": "canine"}))
    with pytest.raises(
        ModelRefused, match="transformers' CanineTokenizer cannot be converted to one: save the tokenizer"
    ):
        tokenizer_check.check(spec)


def test_the_packaged_model_uses_its_own_tokenizer() -> None:
    assert MINILM.tokenizer_file == packaged_minilm() / "tokenizer.json"
