import json
from collections.abc import Sequence

import pytest

from bench.workloads import CELLS, MAX_TOKENS, TEXTS, Cell, workload


def words(texts: Sequence[str]) -> list[int]:
    """Counts tokens like a tokenizer whose tokens are words, with two special tokens."""
    return [len(text.split()) + 2 for text in texts]


def test_every_run_has_the_same_texts() -> None:
    assert workload("mixed", words) == workload("mixed", words)


def test_a_short_text_has_fifteen_words() -> None:
    assert {len(text.split()) for text in workload("short", words).texts} == {15}


def test_mixed_texts_have_all_lengths_up_to_the_limit() -> None:
    tokens = workload("mixed", words).tokens

    assert min(tokens) < 10
    assert 240 < max(tokens) <= MAX_TOKENS


def test_a_text_above_the_limit_is_rejected() -> None:
    with pytest.raises(ValueError, match="a text has 257 tokens, the limit is 256"):
        workload("short", lambda texts: [257] * len(texts))


def test_bodies_have_every_text_once_and_body_tokens_their_counts() -> None:
    mixed = workload("mixed", words)

    sent = [json.loads(body)["input"] for body in mixed.bodies(32)]

    assert [text for texts in sent for text in texts] == list(mixed.texts)
    assert mixed.body_tokens(32) == [sum(words(texts)) for texts in sent]


def test_the_matrix_has_twelve_cells_with_full_bodies() -> None:
    assert len(CELLS) == 12
    assert Cell("mixed", 32, 64) in CELLS
    assert TEXTS % 32 == 0  # so that every body of a cell has as many texts
