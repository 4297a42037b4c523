from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.scheduler.queue import WORTH_TOKENS, Line, Part, Share, bisected, next_share

REQUESTS = st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=8), max_size=8)
BUDGET = st.integers(1, 40)

Texts = list[tuple[int, int]]
"""(owner, place in its request) of each."""


def a_line(requests: list[list[int]]) -> Line[int]:
    line: Line[int] = Line()
    for owner, lengths in enumerate(requests):
        line.join(owner, lengths)
    return line


def texts_of(batch: list[Part[int]]) -> Texts:
    return [(part.owner, place) for part in batch for place in range(part.start, part.stop)]


def all_batches(line: Line[int], budget: int) -> list[Texts]:
    batches = []
    while batch := line.next_batch(budget):
        batches.append(texts_of(batch))
    return batches


@given(REQUESTS, BUDGET)
def test_every_text_goes_once_in_order_of_arrival(requests: list[list[int]], budget: int) -> None:
    arrived = [(owner, place) for owner, lengths in enumerate(requests) for place in range(len(lengths))]
    assert [text for batch in all_batches(a_line(requests), budget) for text in batch] == arrived


@given(REQUESTS, BUDGET)
def test_a_batch_keeps_to_the_budget_unless_one_text_alone_is_longer(requests: list[list[int]], budget: int) -> None:
    for batch in all_batches(a_line(requests), budget):
        assert len(batch) == 1 or sum(requests[owner][place] for owner, place in batch) <= budget


@given(REQUESTS, BUDGET)
def test_a_batch_leaves_out_no_text_that_would_have_fitted(requests: list[list[int]], budget: int) -> None:
    batches = [[requests[owner][place] for owner, place in batch] for batch in all_batches(a_line(requests), budget)]
    assert [(one, after) for one, after in pairwise(batches) if sum(one) + after[0] <= budget] == []


@given(REQUESTS, BUDGET, st.sets(st.integers(0, 7)))
def test_who_leaves_is_gone_and_the_others_keep_their_order(
    requests: list[list[int]], budget: int, leavers: set[int]
) -> None:
    line = a_line(requests)
    taken = texts_of(line.next_batch(budget))
    for owner in leavers:
        line.leave(owner)
    rest = [(owner, place) for owner, lengths in enumerate(requests) for place in range(len(lengths))][len(taken) :]
    expected = [text for text in rest if text[0] not in leavers]
    assert [text for batch in all_batches(line, budget) for text in batch] == expected


@given(REQUESTS, BUDGET)
def test_halves_are_a_batchs_texts_in_order_as_even_as_can_be(requests: list[list[int]], budget: int) -> None:
    line = a_line(requests)
    while batch := line.next_batch(budget):
        first, second = map(texts_of, bisected(batch))
        assert first + second == texts_of(batch)
        assert len(second) - len(first) in {0, 1}


@given(REQUESTS, BUDGET, st.integers(0, 7))
def test_the_line_counts_the_tokens_that_wait(requests: list[list[int]], budget: int, leaver: int) -> None:
    line = a_line(requests)
    taken = set(texts_of(line.next_batch(budget)))
    line.leave(leaver)
    waiting = [
        length
        for owner, lengths in enumerate(requests)
        for place, length in enumerate(lengths)
        if owner != leaver and (owner, place) not in taken
    ]
    assert line.tokens == sum(waiting)


WHOLE, HALF = True, False


@pytest.mark.parametrize(
    ("waiting", "under_way", "share"),
    [
        ([1], [], Share(1000, whole=True)),
        ([500] * 10, [], Share(1000, whole=True)),
        ([WORTH_TOKENS - 1], [WHOLE], None),
        ([WORTH_TOKENS], [WHOLE], Share(1000, whole=True)),
        ([500] * 10, [WHOLE, WHOLE], None),
    ],
)
def test_a_worker_that_computes_one_batch_at_a_time_has_a_second_one_when_enough_tokens_wait(
    waiting: list[int], under_way: list[bool], share: Share | None
) -> None:
    assert next_share(a_line([waiting]), under_way, halves=False, batch_tokens=1000) == share


@pytest.mark.parametrize("requests", [[[500, 501]], [[500], [501]]])
@pytest.mark.parametrize(
    ("more", "under_way", "share"),
    [
        (0, [], Share(501, whole=False)),
        (4000, [], Share(1000, whole=False)),
        (0, [HALF], Share(1000, whole=False)),
        (4000, [HALF], Share(1000, whole=False)),
        (4000, [HALF, HALF], None),
        (4000, [WHOLE], None),
    ],
)
def test_of_two_batches_at_once_each_has_half_of_the_machine(
    requests: list[list[int]], more: int, under_way: list[bool], share: Share | None
) -> None:
    line = a_line([*requests, [more]] if more else requests)
    assert next_share(line, under_way, halves=True, batch_tokens=1000) == share


@pytest.mark.parametrize(
    ("waiting", "under_way", "share"),
    [
        ([100, 2 * WORTH_TOKENS - 101], [], Share(1000, whole=True)),
        ([5000], [], Share(1000, whole=True)),
        ([WORTH_TOKENS - 1], [HALF], None),
        ([WORTH_TOKENS], [HALF], Share(WORTH_TOKENS, whole=False)),
    ],
)
def test_few_tokens_and_one_text_alone_have_the_whole_machine(
    waiting: list[int], under_way: list[bool], share: Share | None
) -> None:
    assert next_share(a_line([waiting]), under_way, halves=True, batch_tokens=1000) == share
