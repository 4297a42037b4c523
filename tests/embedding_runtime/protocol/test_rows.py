"""Ragged rows: parts, joins, and texts with numbers that are not finite."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.protocol.rows import RaggedRows, RowSet, are_finite, as_dense, as_ragged, concatenated

TEXTS = st.lists(st.lists(st.integers(0, 99), max_size=4), min_size=1, max_size=6)


def rows_of(texts: list[list[int]], *, sparse: bool = True) -> RaggedRows:
    """Indices as given, and their tenfold as values."""
    flat = np.array([number for text in texts for number in text], dtype=np.int32)
    lengths = np.array(list(map(len, texts)), dtype=np.uint32)
    return RaggedRows((10.0 * flat[:, None]).astype(np.float32), lengths, flat if sparse else None)


def as_lists(rows: RaggedRows) -> list[list[int]]:
    return [[round(value / 10) for value in text.values[:, 0].tolist()] for text in rows]


@given(TEXTS, st.sampled_from(["sparse", "tokens"]), st.data())
def test_parts_that_are_joined_again_are_the_whole(texts: list[list[int]], kind: str, data: st.DataObject) -> None:
    rows = rows_of(texts, sparse=kind == "sparse")
    cut = data.draw(st.integers(0, len(texts)))
    joined = as_ragged(concatenated([rows[:cut], rows[cut:]]))
    assert as_lists(joined) == texts
    assert (joined.indices is None) == (kind == "tokens")
    assert len(rows[:cut]) == cut


@given(TEXTS, st.data())
def test_texts_are_reordered_with_their_indices(texts: list[list[int]], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(texts))))
    rows = rows_of(texts).reordered(np.array(order))
    assert as_lists(rows) == [texts[place] for place in order]
    assert [[] if text.indices is None else text.indices.tolist() for text in rows] == as_lists(rows)


def test_a_part_is_a_view() -> None:
    rows = rows_of([[1], [2, 3]])
    assert np.shares_memory(rows[1:].values, rows.values)


def test_a_number_that_is_not_finite_spoils_its_own_text_only() -> None:
    rows = rows_of([[1], [], [2, 3], [4]])
    rows.values[2] = np.nan
    assert are_finite(rows).tolist() == [True, True, False, True]


@given(TEXTS, st.data())
def test_a_set_of_outputs_is_cut_and_joined_in_all_of_its_parts(texts: list[list[int]], data: st.DataObject) -> None:
    dense = np.arange(len(texts), dtype=np.float32)[:, None]
    rows = RowSet([dense, rows_of(texts)])
    cut = data.draw(st.integers(0, len(texts)))
    joined = concatenated([rows[:cut], rows[cut:]])
    assert isinstance(joined, RowSet)
    assert np.array_equal(as_dense(joined.parts[0]), dense)
    assert as_lists(as_ragged(joined.parts[1])) == texts
    assert (len(rows[:cut]), len(joined)) == (cut, len(texts))


def test_a_text_is_finite_if_all_of_its_outputs_are() -> None:
    sparse = rows_of([[1], [2], [3]])
    sparse.values[2] = np.inf
    assert are_finite(RowSet([np.array([[np.nan], [1], [1]], dtype=np.float32), sparse])).tolist() == [
        False,
        True,
        False,
    ]
