import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.scheduler.dispatch import MIN_CONCURRENT_TOKENS, BatchPlan, WorkerLoad, next_dispatch

EXCLUSIVE, CONCURRENT = True, False


def load(*under_way: bool, concurrent: bool = False, tokens: int = 0) -> WorkerLoad:
    return WorkerLoad(concurrent, 1000, under_way, tokens or 100 * len(under_way))


@pytest.mark.parametrize(
    ("tokens", "texts", "under_way", "plan"),
    [
        (1, 1, [], BatchPlan(0, 1000, exclusive=True)),
        (5000, 10, [], BatchPlan(0, 1000, exclusive=True)),
        (MIN_CONCURRENT_TOKENS - 1, 1, [EXCLUSIVE], None),
        (MIN_CONCURRENT_TOKENS, 1, [EXCLUSIVE], BatchPlan(0, 1000, exclusive=True)),
        (5000, 10, [EXCLUSIVE, EXCLUSIVE], None),
        (0, 0, [], None),
    ],
)
def test_a_sequential_worker_prefetches_a_batch_if_enough_tokens_are_queued(
    tokens: int, texts: int, under_way: list[bool], plan: BatchPlan | None
) -> None:
    assert next_dispatch(tokens, texts, [load(*under_way)]) == plan


@pytest.mark.parametrize(
    ("tokens", "under_way", "plan"),
    [
        (1001, [], BatchPlan(0, 501, exclusive=False)),
        (5001, [], BatchPlan(0, 1000, exclusive=False)),
        (1001, [CONCURRENT], BatchPlan(0, 1000, exclusive=False)),
        (5001, [CONCURRENT, CONCURRENT], None),
        (5001, [EXCLUSIVE], None),
    ],
)
def test_concurrent_batches_use_half_of_the_cores_each(
    tokens: int, under_way: list[bool], plan: BatchPlan | None
) -> None:
    assert next_dispatch(tokens, 2, [load(*under_way, concurrent=True)]) == plan


@pytest.mark.parametrize(
    ("tokens", "texts", "under_way", "plan"),
    [
        (2 * MIN_CONCURRENT_TOKENS - 1, 2, [], BatchPlan(0, 1000, exclusive=True)),
        (5000, 1, [], BatchPlan(0, 1000, exclusive=True)),
        (MIN_CONCURRENT_TOKENS - 1, 1, [CONCURRENT], None),
        (MIN_CONCURRENT_TOKENS, 1, [CONCURRENT], BatchPlan(0, MIN_CONCURRENT_TOKENS, exclusive=False)),
    ],
)
def test_few_tokens_or_a_single_text_get_all_cores(
    tokens: int, texts: int, under_way: list[bool], plan: BatchPlan | None
) -> None:
    assert next_dispatch(tokens, texts, [load(*under_way, concurrent=True)]) == plan


def test_long_batches_are_not_prefetched() -> None:
    assert next_dispatch(5000, 50, [load(EXCLUSIVE)], prefetch=False) is None
    assert next_dispatch(5000, 50, [load()], prefetch=False) is not None


def test_an_idle_worker_is_preferred() -> None:
    assert next_dispatch(10, 1, [load(EXCLUSIVE), load()]) == BatchPlan(1, 1000, exclusive=True)


def test_the_busy_worker_with_fewer_tokens_is_preferred() -> None:
    busy, less_busy = load(EXCLUSIVE, tokens=900), load(EXCLUSIVE, tokens=300)
    assert next_dispatch(5000, 50, [busy, less_busy]) == BatchPlan(1, 1000, exclusive=True)


def test_idle_workers_share_a_short_queue_evenly() -> None:
    assert next_dispatch(1200, 100, [load(), load(), load()]) == BatchPlan(0, 400, exclusive=True)


def test_idle_concurrent_workers_share_the_queue_by_slots() -> None:
    assert next_dispatch(1600, 100, [load(concurrent=True), load(concurrent=True)]) == BatchPlan(
        0, 400, exclusive=False
    )


LOADS = st.builds(
    WorkerLoad,
    st.booleans(),
    st.integers(1, 2000),
    st.lists(st.booleans(), max_size=2),
    st.integers(0, 5000),
)


@given(st.integers(1, 10_000), st.integers(1, 50), st.lists(LOADS, max_size=6))
def test_a_plan_selects_an_available_worker_and_no_idle_one_waits(
    tokens: int, texts: int, workers: list[WorkerLoad]
) -> None:
    plan = next_dispatch(tokens, texts, workers)
    if plan is None:
        assert not any(worker.is_idle for worker in workers)
        return
    worker = workers[plan.worker]
    assert 1 <= plan.tokens <= worker.batch_tokens
    assert len(worker.exclusive) < 2
    assert plan.exclusive or not any(worker.exclusive)
    assert plan.exclusive or worker.concurrent
