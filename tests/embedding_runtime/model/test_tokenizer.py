from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from embedding_runtime.model import ModelRefused, ModelSpec, Side
from embedding_runtime.model.tokenizer import TextTokenizer, longest_first
from support.initializer import A_POINTER
from support.models import GOLDEN_TEXT, a_model, packaged_minilm

MINILM = ModelSpec.read(packaged_minilm())


def test_the_golden_sentence_has_thirteen_tokens() -> None:
    (ids,) = TextTokenizer(MINILM).encode([GOLDEN_TEXT])
    assert len(ids) == 13
    assert (ids[0], ids[-1]) == (101, 102)


def test_texts_are_neither_truncated_nor_padded() -> None:
    assert [len(ids) for ids in TextTokenizer(MINILM).encode(["", "one", "one " * 1000])] == [2, 3, 1002]


def test_lower_casing_is_added_if_the_model_requires_it() -> None:
    plain, lower = TextTokenizer(MINILM), TextTokenizer(replace(MINILM, lower_case=True))
    assert [ids.tolist() for ids in lower.encode(["ÉCLAIR"])] == [ids.tolist() for ids in plain.encode(["éclair"])]


def test_the_models_prompt_stands_before_every_text() -> None:
    prompted = TextTokenizer(replace(MINILM, prompt="query: "))
    plain = TextTokenizer(MINILM).encode(["query: one", "query: "])
    assert [ids.tolist() for ids in prompted.encode(["one", ""])] == [ids.tolist() for ids in plain]


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("length", [3, 4, 20, 256])
def test_a_cut_text_has_the_tokens_of_the_tokenizers_own_truncation(side: Side, length: int) -> None:
    texts = ["", "one", "the quick brown [SEP] fox " * 3, "many words " * 200]
    own = Tokenizer.from_file(str(packaged_minilm() / "tokenizer.json"))
    own.no_padding()
    own.enable_truncation(length, direction=side)
    ours = TextTokenizer(MINILM)
    assert [ours.cut(ids, length, side).tolist() for ids in ours.encode(texts)] == [
        own.encode(text).ids for text in texts
    ]


def test_the_tokens_around_a_text_are_known() -> None:
    tokenizer = TextTokenizer(MINILM)
    assert (tokenizer.first, tokenizer.last) == ([101], [102])


def test_a_missing_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"tokenizer\.json"):
        TextTokenizer(ModelSpec.read(a_model(tmp_path)))


def test_a_git_lfs_pointer_in_the_place_of_a_tokenizer_is_named(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    (model / "tokenizer.json").write_bytes(A_POINTER)
    with pytest.raises(ModelRefused, match=r"tokenizer.json is a Git LFS pointer.*`git lfs pull`"):
        TextTokenizer(ModelSpec.read(model))


def test_a_pairs_second_text_is_marked_in_its_ids() -> None:
    pair = TextTokenizer(MINILM).encode_pairs([("one", "two three")])
    (one, two) = TextTokenizer(MINILM).encode(["one", "two three"])
    assert pair.ids.tolist() == [*one, *two[1:]]
    assert pair.types is not None
    assert pair.types.tolist() == [0] * 3 + [1] * 3


def test_a_prompt_stands_before_the_first_text_of_a_pair() -> None:
    prompted = TextTokenizer(replace(MINILM, prompt="query: ")).encode_pairs([("one", "two")])
    plain = TextTokenizer(MINILM).encode_pairs([("query: one", "two")])
    assert [ids.tolist() for ids in prompted] == [ids.tolist() for ids in plain]


def test_pairs_are_truncated_on_request_only() -> None:
    pairs = [("one", "two " * 1000), ("one", "two")]
    tokenizer = TextTokenizer(MINILM)
    assert [len(ids) for ids in tokenizer.encode_pairs(pairs)] == [1004, 5]
    assert [len(ids) for ids in tokenizer.encode_pairs(pairs, cut_to=256)] == [256, 5]


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 20))
def test_the_longer_text_is_cut_first_as_tokenizers_does(first: int, second: int, room: int) -> None:
    theirs = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    theirs.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    theirs.enable_truncation(room, strategy="longest_first")
    found = theirs.encode("a " * first, "a " * second).sequence_ids
    assert longest_first(first, second, room) == (found.count(0), found.count(1))
