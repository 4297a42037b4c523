"""Prometheus metrics of a server, after those of text-embeddings-inference.

Counters and histograms are updated as events happen, gauges are read at each scrape.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, Info, Metric, ProcessCollector
from prometheus_client.registry import Collector

from embedding_runtime.model import ModelSpec
from embedding_runtime.observability.gather import merged
from embedding_runtime.observability.tallies import CounterFamily, HistogramFamily
from embedding_runtime.protocol.requests import Lane

__all__ = ["Metrics"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 512, 1024, 2048, 4096, 8192, 32768)


class Metrics:
    """The metrics of one server, in their own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests answered.", ["method", "path", "code"])
        self._request_seconds = self._histogram(
            "request_duration_seconds", "From the headers of a request to the end of its response.", SECONDS, ["path"]
        )
        self._rejected = self._counter(
            "rejected",
            "Requests rejected or failed, by reason; the lane is empty if it was not yet known.",
            ["reason", "lane"],
        )
        self.tokenization = self._histogram(
            "request_tokenization_duration_seconds", "Tokenization of a request's texts.", SECONDS
        ).labels()
        self._queue_seconds = self._histogram(
            "request_queue_duration_seconds",
            "From enqueuing a request to the dispatch of its first batch.",
            SECONDS,
            ["lane"],
        )
        self._inference = self._histogram(
            "batch_inference_duration_seconds",
            "Computation of a batch, without the time it waited for another one.",
            SECONDS,
        ).labels()
        self._batch_texts = self._histogram("batch_texts", "Texts in a batch.", TEXTS).labels()
        self._batch_tokens = self._histogram(
            "batch_tokens", "Tokens in a batch, special tokens included.", TOKENS
        ).labels()
        self._texts = self._counter("texts", "Texts computed.").labels()
        self._tokens = self._counter("tokens", "Tokens computed, special tokens included.").labels()
        self._padding = self._counter(
            "padding_tokens",
            "Padding computed in addition to embedding_tokens_total, to bring the texts of a batch to one length. "
            "0 if batches are packed.",
        ).labels()
        self._halves = self._counter(
            "half_batches", "Batches run on half the cores, concurrently with another batch."
        ).labels()
        self._worker_restarts = self._counter("worker_restarts", "Workers that crashed and were restarted.").labels()
        self._connections_ended = self._counter(
            "connections_ended", "Connections that the server closed or refused.", ["reason"]
        )
        self._stale_frontends = Gauge(
            "embedding_stale_frontends",
            "Frontends that did not report in time, so that this scrape has their previous samples.",
            registry=self._registry,
        )
        self._model: Info | None = None
        self._facts: Mapping[str, str] = {}
        ProcessCollector(registry=self._registry)

    def request(self, *, method: str, path: str, code: int, seconds: float) -> None:
        """An answer has been sent. `path` is a route's template, so that there are few."""
        self._requests.labels(method, path, code).inc()
        self._request_seconds.labels(path).observe(seconds)

    def rejected(self, reason: str, lane: Lane | None) -> None:
        """A request was answered with a fault."""
        self._rejected.labels(reason, lane or "").inc()

    def queued(self, lane: Lane, seconds: float) -> None:
        """The first batch of a request was dispatched after so many seconds in the queue."""
        self._queue_seconds.labels(lane).observe(seconds)

    def batch(self, *, texts: int, tokens: int, padding: int, exclusive: bool, seconds: float) -> None:
        """A worker has computed a batch. `padding`: see `Vectors`; `exclusive`: see `Work`."""
        self._inference.observe(seconds)
        self._batch_texts.observe(texts)
        self._batch_tokens.observe(tokens)
        self._texts.inc(texts)
        self._tokens.inc(tokens)
        self._padding.inc(padding)
        self._halves.inc(not exclusive)

    def queue(
        self,
        *,
        tokens: Callable[[Lane], float],
        texts: Callable[[Lane], float],
        tokens_in_flight: Callable[[], float],
    ) -> None:
        """Add gauges of the queue. The callbacks are called at each scrape."""
        for name, help_, value in (
            ("queue_tokens", "Queued tokens.", tokens),
            ("queue_texts", "Queued texts.", texts),
        ):
            gauge = Gauge(f"embedding_{name}", help_, ["lane"], registry=self._registry)
            for lane in Lane:
                gauge.labels(lane).set_function(partial(value, lane))
        self._gauge("tokens_in_flight", "Tokens that are queued or being computed.", tokens_in_flight)

    def workers(self, *, ready: Callable[[], float]) -> None:
        """Add a gauge of the ready workers. The callback is called at each scrape."""
        self._gauge("workers", "Workers that are ready.", ready)

    def worker_restarted(self) -> None:
        """A lost worker is being replaced."""
        self._worker_restarts.inc()

    def stale_frontends(self, number: int) -> None:
        """Set how many frontends did not report in time for a scrape."""
        self._stale_frontends.set(number)

    def connections(self, *, number: Callable[[], float], unsent_bytes: Callable[[], float]) -> None:
        """Add gauges of open connections and of the memory for responses. The callbacks are called at each scrape."""
        self._gauge("connections", "Open connections.", number)
        self._gauge(
            "unsent_bytes", "Bytes of responses that are being written or that clients have not read.", unsent_bytes
        )

    def connection_ended(self, reason: str) -> None:
        """The server closed or refused a connection."""
        self._connections_ended.labels(reason).inc()

    def serving(self, name: str, backend: str, spec: ModelSpec, *, workers: Callable[[], Sequence[int]]) -> None:
        """Add the model as labels, and the memory and CPU time of all workers. `workers`: returns their process ids."""
        facts = {"name": name, "backend": backend, "pooling": "+".join(spec.pooling), "dtype": spec.dtype}
        numbers = {"dimensions": str(spec.dimensions), "max_length": str(spec.max_length)}
        self._facts = facts | numbers
        self._model = Info("embedding_model", "The served model.", registry=self._registry)
        self._model.info(self._facts)
        self._registry.register(_Processes("embedding_worker", workers))

    def loaded(self, backend: str) -> None:
        """Set the backend that computes, once it is known."""
        if self._model is not None:
            self._model.info({**self._facts, "backend": backend})

    def families(self) -> Sequence[Metric]:
        """The metrics of this process with their current values."""
        return list(self._registry.collect())

    def _counter(self, name: str, help_: str, labels: Sequence[str] = ()) -> CounterFamily:
        return CounterFamily(f"embedding_{name}", help_, labels, self._registry)

    def _histogram(self, name: str, help_: str, bounds: Sequence[float], labels: Sequence[str] = ()) -> HistogramFamily:
        return HistogramFamily(f"embedding_{name}", help_, labels, self._registry, bounds=bounds)

    def _gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        Gauge(f"embedding_{name}", help_, registry=self._registry).set_function(value)


class _Processes(Collector):
    """Memory and CPU time of several processes, summed."""

    def __init__(self, namespace: str, pids: Callable[[], Sequence[int]]) -> None:
        self._namespace, self._pids = namespace, pids

    def collect(self) -> Iterable[Metric]:
        return merged(self._of(pid).collect() for pid in self._pids())

    def _of(self, pid: int) -> ProcessCollector:
        return ProcessCollector(self._namespace, lambda: pid, registry=None)
