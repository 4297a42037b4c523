from dataclasses import replace
from pathlib import Path

import pytest

from embedding_runtime.modelspec import ModelRefused, ModelSpec
from embedding_runtime.tokenization import TextTokenizer
from support.models import GOLDEN_TEXT, a_model, packaged_minilm

MINILM = ModelSpec.read(packaged_minilm())


def test_the_golden_sentence_has_thirteen_tokens() -> None:
    (ids,) = TextTokenizer(MINILM).encode([GOLDEN_TEXT])
    assert len(ids) == 13
    assert (ids[0], ids[-1]) == (101, 102)


def test_texts_are_neither_cut_nor_filled_up() -> None:
    assert [len(ids) for ids in TextTokenizer(MINILM).encode(["", "one", "one " * 1000])] == [2, 3, 1002]


def test_lower_casing_is_added_where_the_model_asks_for_it() -> None:
    plain, lower = TextTokenizer(MINILM), TextTokenizer(replace(MINILM, lower_case=True))
    assert [ids.tolist() for ids in lower.encode(["ÉCLAIR"])] == [ids.tolist() for ids in plain.encode(["éclair"])]


def test_the_models_prompt_stands_before_every_text() -> None:
    prompted = TextTokenizer(replace(MINILM, prompt="query: "))
    plain = TextTokenizer(MINILM).encode(["query: one", "query: "])
    assert [ids.tolist() for ids in prompted.encode(["one", ""])] == [ids.tolist() for ids in plain]


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"tokenizer\.json"):
        TextTokenizer(ModelSpec.read(a_model(tmp_path)))
