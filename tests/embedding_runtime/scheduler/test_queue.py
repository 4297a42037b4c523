"""Properties of the queue: complete, in order, fair by principal, at least a tenth for bulk."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.protocol.requests import Lane
from embedding_runtime.scheduler.lane_queue import QUANTUM
from embedding_runtime.scheduler.parts import Part, bisect
from embedding_runtime.scheduler.queue import INTERACTIVE_PER_BULK, RequestQueue

Request = tuple[str, Lane, list[int]]
"""Principal, lane, lengths of its texts."""

LONGEST = 900
LENGTHS = st.lists(st.integers(1, LONGEST), min_size=1, max_size=8)
REQUESTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Lane)), LENGTHS), max_size=12)
BUDGET = st.integers(1, 2000)

Texts = list[tuple[int, int]]
"""(owner, place in its request) of each."""


def a_queue(requests: Sequence[Request]) -> RequestQueue[int]:
    queue: RequestQueue[int] = RequestQueue()
    for owner, (principal, lane, lengths) in enumerate(requests):
        queue.enqueue(owner, lengths, principal, lane)
    return queue


def bulk(*requests: list[int]) -> RequestQueue[int]:
    return a_queue([("a", Lane.BULK, lengths) for lengths in requests])


def texts_of(batch: Sequence[Part[int]]) -> Texts:
    return [(part.owner, place) for part in batch for place in range(part.start, part.stop)]


def all_batches(queue: RequestQueue[int], budget: int) -> list[Texts]:
    batches = []
    while batch := queue.next_batch(budget):
        batches.append(texts_of(batch))
    return batches


def all_texts(requests: Sequence[Request]) -> Texts:
    return [(owner, place) for owner, (_, _, lengths) in enumerate(requests) for place in range(len(lengths))]


def length_of(requests: Sequence[Request], text: tuple[int, int]) -> int:
    owner, place = text
    return requests[owner][2][place]


@given(REQUESTS, BUDGET)
def test_no_text_is_lost_or_dispatched_twice(requests: list[Request], budget: int) -> None:
    dispatched = [text for batch in all_batches(a_queue(requests), budget) for text in batch]
    assert sorted(dispatched) == all_texts(requests)


@given(REQUESTS, BUDGET)
def test_the_texts_of_a_request_keep_their_order(requests: list[Request], budget: int) -> None:
    dispatched = [text for batch in all_batches(a_queue(requests), budget) for text in batch]
    for owner in range(len(requests)):
        places = [place for each, place in dispatched if each == owner]
        assert places == sorted(places)


@given(REQUESTS, BUDGET)
def test_the_requests_of_a_principal_keep_their_order_within_a_lane(requests: list[Request], budget: int) -> None:
    dispatched = [owner for batch in all_batches(a_queue(requests), budget) for owner, _ in batch]
    for principal in "abc":
        for lane in Lane:
            owners = [owner for owner in dispatched if requests[owner][:2] == (principal, lane)]
            assert owners == sorted(owners)


@given(REQUESTS, BUDGET)
def test_a_batch_is_within_its_budget_unless_a_single_text_is_longer(requests: list[Request], budget: int) -> None:
    for batch in all_batches(a_queue(requests), budget):
        assert len(batch) == 1 or sum(length_of(requests, text) for text in batch) <= budget


@given(REQUESTS, BUDGET)
def test_a_batch_ends_when_the_next_text_does_not_fit(requests: list[Request], budget: int) -> None:
    batches = [[length_of(requests, text) for text in batch] for batch in all_batches(a_queue(requests), budget)]
    assert [(one, after) for one, after in pairwise(batches) if sum(one) + after[0] <= budget] == []


@given(st.lists(st.tuples(st.sampled_from("abc"), LENGTHS), min_size=2, max_size=12), BUDGET)
def test_no_principal_gets_more_than_one_turn_ahead_of_another(
    given_requests: list[tuple[str, list[int]]], budget: int
) -> None:
    requests: list[Request] = [(principal, Lane.BULK, lengths) for principal, lengths in given_requests]
    left = {name: sum(sum(lengths) for principal, _, lengths in requests if principal == name) for name in "abc"}
    served = dict.fromkeys("abc", 0)
    for batch in all_batches(a_queue(requests), budget):
        for text in batch:
            principal, length = requests[text[0]][0], length_of(requests, text)
            served[principal] += length
            left[principal] -= length
            waiting = [name for name in "abc" if left[name]]
            assert all(served[principal] - served[name] <= 2 * QUANTUM + 2 * LONGEST for name in waiting)


@given(REQUESTS, BUDGET)
def test_bulk_gets_a_tenth_of_the_tokens_while_both_lanes_are_used(requests: list[Request], budget: int) -> None:
    waiting = {lane: sum(sum(lengths) for _, each, lengths in requests if each is lane) for lane in Lane}
    served = dict.fromkeys(Lane, 0)
    for batch in all_batches(a_queue(requests), budget):
        for text in batch:
            lane, length = requests[text[0]][1], length_of(requests, text)
            if not all(waiting.values()):
                return
            waiting[lane] -= length
            served[lane] += length
            lag = served[Lane.INTERACTIVE] / INTERACTIVE_PER_BULK - served[Lane.BULK]
            assert not waiting[Lane.BULK] or lag <= 2 * LONGEST


@given(REQUESTS, BUDGET)
def test_interactive_is_dispatched_before_bulk_except_for_a_tenth(requests: list[Request], budget: int) -> None:
    waiting = {lane: sum(sum(lengths) for _, each, lengths in requests if each is lane) for lane in Lane}
    served = dict.fromkeys(Lane, 0)
    for batch in all_batches(a_queue(requests), budget):
        for text in batch:
            lane, length = requests[text[0]][1], length_of(requests, text)
            if not all(waiting.values()):
                return
            waiting[lane] -= length
            served[lane] += length
            assert served[Lane.BULK] * INTERACTIVE_PER_BULK <= served[Lane.INTERACTIVE]


@given(REQUESTS, st.integers(1, 2000), st.integers(1, 2000))
def test_a_batch_with_interactive_texts_is_filled_with_bulk_texts_up_to_its_own_budget(
    requests: list[Request], budget: int, mixed: int
) -> None:
    queue = a_queue(requests)
    dispatched: Texts = []
    while batch := texts_of(queue.next_batch(budget, mixed=min(mixed, budget))):
        dispatched += batch
        lanes = [requests[owner][1] for owner, _ in batch]
        tokens = sum(length_of(requests, text) for text in batch)
        assert len(batch) == 1 or tokens <= budget
        if lanes[-1] is Lane.BULK and Lane.INTERACTIVE in lanes and not queue.texts_in(Lane.INTERACTIVE):
            last_interactive = len(lanes) - lanes[::-1].index(Lane.INTERACTIVE)
            filling = batch[last_interactive:]
            assert tokens <= mixed or sum(length_of(requests, text) for text in filling) <= LONGEST
    assert sorted(dispatched) == all_texts(requests)


@given(REQUESTS, BUDGET, st.sets(st.integers(0, 11)))
def test_only_removed_requests_are_dequeued(requests: list[Request], budget: int, removed: set[int]) -> None:
    queue = a_queue(requests)
    taken = texts_of(queue.next_batch(budget))
    for owner in removed:
        queue.remove(owner)
    rest = [text for batch in all_batches(queue, budget) for text in batch]
    expected = [text for text in all_texts(requests) if text not in taken and text[0] not in removed]
    assert sorted(rest) == expected
    assert (queue.tokens, queue.texts) == (0, 0)


@given(REQUESTS, BUDGET, st.integers(0, 11))
def test_the_queue_counts_waiting_tokens_by_lane_and_principal(
    requests: list[Request], budget: int, removed: int
) -> None:
    queue = a_queue(requests)
    taken = set(texts_of(queue.next_batch(budget)))
    queue.remove(removed)
    waiting = [text for text in all_texts(requests) if text not in taken and text[0] != removed]
    for lane in Lane:
        lengths = [length_of(requests, text) for text in waiting if requests[text[0]][1] is lane]
        assert (queue.tokens_in(lane), queue.texts_in(lane)) == (sum(lengths), len(lengths))
    for principal in "abc":
        own = sum(length_of(requests, text) for text in waiting if requests[text[0]][0] == principal)
        assert queue.tokens_of(principal) == own


@given(REQUESTS, BUDGET, st.sampled_from("abcd"), st.sampled_from(list(Lane)), LENGTHS)
def test_tokens_ahead_is_an_upper_bound(
    requests: list[Request], budget: int, principal: str, lane: Lane, lengths: list[int]
) -> None:
    queue = a_queue(requests)
    foretold = queue.tokens_ahead(principal, lane, sum(lengths))
    assert foretold <= queue.tokens
    new = len(requests)
    queue.enqueue(new, lengths, principal, lane)
    requests = [*requests, (principal, lane, lengths)]
    dispatched = [text for batch in all_batches(queue, budget) for text in batch]
    before = dispatched[: max(place for place, (owner, _) in enumerate(dispatched) if owner == new)]
    ahead = sum(length_of(requests, text) for text in before if text[0] != new)
    assert ahead <= foretold + 8 * LONGEST  # turns are of whole texts


@given(REQUESTS, BUDGET)
def test_a_failed_batch_is_requeued_as_two_halves(requests: list[Request], budget: int) -> None:
    queue = a_queue(requests)
    before = (queue.tokens, queue.texts)
    batch = queue.next_batch(budget)
    if len(texts_of(batch)) < 2:
        return
    queue.retry(batch)
    assert (queue.tokens, queue.texts) == before
    halves = [texts_of(queue.next_batch(1)), texts_of(queue.next_batch(1))]
    assert halves[0] + halves[1] == texts_of(batch)
    assert len(halves[1]) - len(halves[0]) in {0, 1}


@given(REQUESTS, BUDGET)
def test_a_removed_request_is_not_retried(requests: list[Request], budget: int) -> None:
    queue = a_queue(requests)
    batch = queue.next_batch(budget)
    if len(texts_of(batch)) < 2:
        return
    queue.retry(batch)
    gone = batch[0].owner
    queue.remove(gone)
    dispatched = [text for each in all_batches(queue, budget) for text in each]
    assert all(owner != gone for owner, _ in dispatched)
    assert set(texts_of(batch)) - set(dispatched) == {text for text in texts_of(batch) if text[0] == gone}
    assert (queue.tokens, queue.texts) == (0, 0)


@given(LENGTHS, LENGTHS)
def test_a_batch_is_split_evenly_in_order(one: list[int], other: list[int]) -> None:
    batch = bulk(one, other).next_batch(10_000)
    first, second = map(texts_of, bisect(batch))
    assert first + second == texts_of(batch)
    assert len(second) - len(first) in {0, 1}


EXCLUSIVE, BESIDE = True, False


@given(st.lists(st.tuples(LENGTHS, st.sampled_from(list(Lane)), st.booleans()), max_size=12), BUDGET)
def test_a_batch_has_texts_of_one_group(requests: list[tuple[list[int], Lane, bool]], budget: int) -> None:
    queue: RequestQueue[int] = RequestQueue()
    for owner, (lengths, lane, group) in enumerate(requests):
        queue.enqueue(owner, lengths, "a", lane, group=group)
    batches = all_batches(queue, budget)
    assert all(len({requests[owner][2] for owner, _ in batch}) == 1 for batch in batches)
    assert sum(map(len, batches)) == sum(len(lengths) for lengths, _, _ in requests)
