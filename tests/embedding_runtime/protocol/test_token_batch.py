import numpy as np

from embedding_runtime.protocol.token_batch import TokenBatch


def a_batch(*texts: list[int], types: list[list[int]] | None = None) -> TokenBatch:
    of_texts = None if types is None else [np.array(each, dtype=np.uint8) for each in types]
    return TokenBatch.of([np.array(text, dtype=np.int32) for text in texts], of_texts)


def as_lists(batch: TokenBatch) -> list[list[int]]:
    return [ids.tolist() for ids in batch]


def test_it_iterates_over_the_ids_of_each_text() -> None:
    batch = a_batch([1], [2, 3], [4])
    assert as_lists(batch) == [[1], [2, 3], [4]]
    assert (len(batch), batch.tokens) == (3, 4)


def test_a_part_is_a_view() -> None:
    batch = a_batch([1], [2, 3], [4], types=[[0], [0, 1], [1]])
    part = batch.part(1, 3)
    assert as_lists(part) == [[2, 3], [4]]
    assert part.types is not None
    assert part.types.tolist() == [0, 1, 1]
    assert part.ids.base is batch.ids


def test_parts_of_several_batches_are_joined() -> None:
    joined = TokenBatch.joined([a_batch([1], [2, 3]).part(1, 2), a_batch([4], types=[[1]])])
    assert as_lists(joined) == [[2, 3], [4]]
    assert joined.types is not None
    assert joined.types.tolist() == [0, 0, 1]


def test_texts_are_reordered_with_their_types() -> None:
    batch = a_batch([1], [2, 3], [4, 5, 6], types=[[0], [0, 1], [1, 1, 0]]).reordered(np.array([2, 0, 1]))
    assert as_lists(batch) == [[4, 5, 6], [1], [2, 3]]
    assert batch.types is not None
    assert batch.types.tolist() == [1, 1, 0, 0, 0, 1]


def test_no_texts_are_a_batch_too() -> None:
    assert (len(a_batch()), a_batch().tokens) == (0, 0)
