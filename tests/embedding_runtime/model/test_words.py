"""Ids that are put together from known words are those of the tokenizer, whatever the text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers

from embedding_runtime.model import words
from embedding_runtime.model.words import KnownWords

PIECES = [
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "a",
    "b",
    "ab",
    "##a",
    "##b",
    "A",
    "##A",
    "1",
    "##1",
    "-",
    "[",
    "]",
    "'",
    "é",
    "猫",
]
FIRST, LAST = [1], [2]


def a_tokenizer(normalizer: normalizers.Normalizer | None, *, added: tuple[str, ...] = ("[CLS]", "[SEP]")) -> Tokenizer:
    made = Tokenizer(models.WordPiece({piece: id_ for id_, piece in enumerate(PIECES)}, unk_token="[UNK]"))
    if normalizer is not None:
        made.normalizer = normalizer
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.add_special_tokens([AddedToken(token, special=True) for token in added])
    return made


NORMALIZERS = {
    "as BERT, uncased": normalizers.BertNormalizer(lowercase=True),
    "as BERT, cased": normalizers.BertNormalizer(lowercase=False),
    "with a prompt's lower case first": normalizers.Sequence(
        [normalizers.Lowercase(), normalizers.BertNormalizer(lowercase=False)]
    ),
    "none": None,
}

TEXTS = st.lists(
    st.one_of(
        st.sampled_from(["a", "ab", "aba", "A", "b1", "[CLS]", "[", "-", "'", " ", "\t", "\n", "\x0b", "\x00", "\x7f"]),
        st.sampled_from(["é", "e\u0301", "猫", "\u00a0", "\u200b", "a" * 120]),
        st.text(max_size=3),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("name", NORMALIZERS)
@given(texts=st.lists(TEXTS, min_size=1, max_size=6))
def test_known_words_make_the_ids_that_the_tokenizer_makes(name: str, texts: list[str]) -> None:
    tokenizer = a_tokenizer(NORMALIZERS[name])
    known = KnownWords.of(tokenizer, FIRST, LAST)
    assert known is not None
    known.learn(texts)
    for text in texts:
        found = known.ids(text)
        if found is not None:
            whole = tokenizer.encode(text, add_special_tokens=False).ids
            assert np.frombuffer(found, np.int32).tolist() == [*FIRST, *whole, *LAST]


def test_a_text_of_known_words_needs_no_tokenizer() -> None:
    known = KnownWords.of(a_tokenizer(None), FIRST, LAST)
    assert known is not None
    assert known.ids("ab a-b") is None
    known.learn(["a-b ab"])
    assert known.ids("ab a-b") is not None


@pytest.mark.parametrize("text", ["é", "a\x00b", "a [SEP] b", "an unknown one"])
def test_what_words_alone_do_not_tell_is_left_to_the_tokenizer(text: str) -> None:
    known = KnownWords.of(a_tokenizer(None), FIRST, LAST)
    assert known is not None
    known.learn(["a b"])
    assert known.ids(text) is None


def test_words_are_forgotten_before_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "MOST_WORDS", 2)
    known = KnownWords.of(a_tokenizer(None), FIRST, LAST)
    assert known is not None
    for text in ("a b", "ab"):
        known.learn([text])
    assert (known.ids("a") is None, known.ids("ab") is None) == (True, False)


def test_few_words_are_learned_from_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "LEARNED", 1)
    known = KnownWords.of(a_tokenizer(None), FIRST, LAST)
    assert known is not None
    known.learn(["a b", "ab"])
    assert [known.ids(word) is None for word in ("a", "b", "ab")] == [False, True, True]


def test_a_tokenizer_that_adds_a_word_is_left_alone() -> None:
    assert KnownWords.of(a_tokenizer(None, added=("magic",)), FIRST, LAST) is None


def test_a_tokenizer_that_does_not_take_words_one_by_one_is_left_alone() -> None:
    for pre_tokenizer in (pre_tokenizers.Metaspace(), pre_tokenizers.Whitespace()):
        tokenizer = a_tokenizer(None)
        tokenizer.pre_tokenizer = pre_tokenizer
        assert KnownWords.of(tokenizer, FIRST, LAST) is None
    assert KnownWords.of(a_tokenizer(normalizers.Replace("a b", "ab")), FIRST, LAST) is None
