"""Our counters and histograms equal those of prometheus_client."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Histogram, Metric

from embedding_runtime.observability.tallies import CounterFamily, HistogramFamily

BOUNDS = (0.5, 1, 2.5, 10)
LABELS = st.sampled_from(["query", "document"])
VALUES = st.floats(0, 20) | st.sampled_from(BOUNDS)


def _said(registry: CollectorRegistry) -> Sequence[Metric]:
    """Without the times of creation, which the runtime does not publish."""
    families = list(registry.collect())
    for family in families:
        family.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    return families


@given(st.lists(st.tuples(LABELS, VALUES)))
def test_a_counter_says_what_prometheus_clients_says(events: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = CounterFamily("answers", "Answers sent.", ["kind"], ours)
    other = Counter("answers", "Answers sent.", ["kind"], registry=theirs)
    for label, value in events:
        one.labels(label).inc(value)
        other.labels(label).inc(value)
    assert _said(ours) == _said(theirs)


@given(st.lists(st.tuples(LABELS, VALUES)))
def test_a_histogram_says_what_prometheus_clients_says(events: list[tuple[str, float]]) -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    one = HistogramFamily("texts", "Texts in an answer.", ["kind"], ours, bounds=BOUNDS)
    other = Histogram("texts", "Texts in an answer.", ["kind"], buckets=BOUNDS, registry=theirs)
    for label, value in events:
        one.labels(label).observe(value)
        other.labels(label).observe(value)
    assert _said(ours) == _said(theirs)


def test_metrics_without_labels_exist_from_the_start() -> None:
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    CounterFamily("answers", "Answers sent.", [], ours)
    HistogramFamily("texts", "Texts in an answer.", [], ours, bounds=BOUNDS)
    Counter("answers", "Answers sent.", registry=theirs)
    Histogram("texts", "Texts in an answer.", buckets=BOUNDS, registry=theirs)
    assert _said(ours) == _said(theirs)
