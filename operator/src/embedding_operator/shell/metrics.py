"""The operator's Prometheus metrics."""

from collections import Counter as Tally
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from embedding_operator.errors import Fault

__all__ = ["Metrics", "State"]

_PREFIX = "embedding_operator"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class State(Protocol):
    """What is asked for at each scrape."""

    def is_leading(self) -> bool:
        """Whether the process may write."""

    def queue(self) -> tuple[int, float]:
        """Keys that are due, and how many seconds the oldest has been."""

    def services(self) -> Tally[tuple[str, str]]:
        """How many services have each status and reason of Ready."""

    def rollouts(self) -> int:
        """Slots of the rollout budget that are taken."""

    def conflicting(self) -> int:
        """Services that another operator manages."""

    def watch_restarts(self) -> Tally[str]:
        """How often the watch of each kind began anew."""


class Metrics:
    """Counters of this process, and gauges that are read from `state` when it is set."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.state: State | None = None
        self._reconciles = Counter(
            f"{_PREFIX}_reconciles_total", "Reconciles by result", ["result"], registry=self._registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_reconcile_seconds", "Duration of reconciles", buckets=_BUCKETS, registry=self._registry
        )
        self._errors = Counter(
            f"{_PREFIX}_errors_total", "Reconciles that failed, by reason", ["reason"], registry=self._registry
        )
        self._calls = Counter(
            f"{_PREFIX}_api_requests_total",
            "Requests to the API server",
            ["verb", "kind", "code"],
            registry=self._registry,
        )
        self._registry.register(_Gauges(self))

    def reconciled(self, result: str, seconds: float) -> None:
        """A reconcile has ended."""
        self._reconciles.labels(result).inc()
        self._seconds.observe(seconds)

    def failed(self, fault: Fault) -> None:
        """A reconcile has failed."""
        self._errors.labels(fault.reason).inc()

    def called(self, verb: str, kind: str, code: str) -> None:
        """A request to the API server has ended."""
        self._calls.labels(verb, kind, code).inc()

    def text(self) -> bytes:
        """All of it."""
        return generate_latest(self._registry)


class _Gauges(Collector):
    """Read when asked for, so that keeping them costs nothing."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def describe(self) -> Iterator[Metric]:
        """Nothing in advance."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The present values; of a process that stands by, that it does not lead."""
        state = self._metrics.state
        yield _gauge("leader", "1 if this process leads, else 0", float(state is not None and state.is_leading()))
        if state is None:
            return
        depth, oldest = state.queue()
        yield _gauge("queue_depth", "Keys waiting for a reconcile", depth)
        yield _gauge("queue_oldest_seconds", "How long the oldest of them has waited", oldest)
        yield _gauge("rollouts_in_progress", "Slots of the rollout budget in use", state.rollouts())
        yield _gauge("conflicting_services", "Services that another operator manages", state.conflicting())
        services = GaugeMetricFamily(f"{_PREFIX}_services", "Services by Ready", labels=["ready", "reason"])
        for (ready, reason), number in state.services().items():
            services.add_metric([ready, reason], number)
        yield services
        restarts = GaugeMetricFamily(f"{_PREFIX}_watch_restarts", "Restarts of watches", labels=["kind"])
        for kind, number in state.watch_restarts().items():
            restarts.add_metric([kind], number)
        yield restarts


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"{_PREFIX}_{name}", words, value=value)
