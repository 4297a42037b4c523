"""Counters and histograms that one thread updates, for a prometheus_client registry.

Those of prometheus_client take a lock and a dozen calls for each update, because any thread may update them. A request
updates eleven, which was an eighth of a frontend's time (docs/performance.md).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

__all__ = ["CounterFamily", "CounterTally", "HistogramFamily", "HistogramTally"]


class CounterTally:
    """A counter with one set of label values."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def inc(self, amount: float = 1) -> None:
        """Add `amount`, 0 or more."""
        self.value += amount


class HistogramTally:
    """A histogram with one set of label values."""

    __slots__ = ("_bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        """`bounds`: inclusive upper bounds of the buckets, in ascending order. One more bucket has no bound."""
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Observations in each bucket; unlike in Prometheus, without those of lower buckets."""
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count `value` in its bucket."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


Tally = TypeVar("Tally", CounterTally, HistogramTally)


class _Family(Collector, Generic[Tally]):
    """The tallies of one metric, by their label values."""

    def __init__(
        self, name: str, help_: str, labels: Sequence[str], registry: CollectorRegistry, new: Callable[[], Tally]
    ) -> None:
        """`new`: creates a tally."""
        self._name, self._help, self._labels = name, help_, labels
        self._new: Callable[[], Tally] = new
        self._tallies: dict[tuple[object, ...], Tally] = {}
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: object) -> Tally:
        """The tally of these label values, in the order of the labels. Created on first use."""
        tally = self._tallies.get(values)
        if tally is None:
            tally = self._tallies[values] = self._new()
        return tally


class CounterFamily(_Family[CounterTally]):
    """A counter."""

    def __init__(self, name: str, help_: str, labels: Sequence[str], registry: CollectorRegistry) -> None:
        super().__init__(name, help_, labels, registry, CounterTally)

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        family = CounterMetricFamily(self._name, self._help, labels=self._labels)
        for values, tally in self._tallies.items():
            family.add_metric([str(value) for value in values], tally.value)
        return [family]


class HistogramFamily(_Family[HistogramTally]):
    """A histogram."""

    def __init__(
        self, name: str, help_: str, labels: Sequence[str], registry: CollectorRegistry, *, bounds: Sequence[float]
    ) -> None:
        self._bounds = bounds
        super().__init__(name, help_, labels, registry, partial(HistogramTally, bounds))

    def collect(self) -> Iterable[Metric]:
        """See Collector."""
        family = HistogramMetricFamily(self._name, self._help, labels=self._labels)
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        for values, tally in self._tallies.items():
            buckets = list(zip(bounds, accumulate(tally.counts), strict=True))
            family.add_metric([str(value) for value in values], buckets, tally.sum)
        return [family]
