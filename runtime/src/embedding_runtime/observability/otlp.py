"""Sends spans over OTLP/HTTP with OpenTelemetry's SDK. `tracing` imports it if a collector is configured.

Endpoint, headers, sampler, service name and so on are the SDK's environment variables.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from embedding_runtime.observability.tracing import Attributes

__all__ = ["Otlp", "start"]

_propagator = TraceContextTextMapPropagator()


class Otlp:
    """Implements `tracing.Tracing`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def request(self, method: str, headers: Mapping[str, str]) -> Iterator[None]:
        with self._started(method, SpanKind.SERVER, _propagator.extract(headers)):
            yield

    @contextmanager
    def span(self, name: str) -> Iterator[None]:
        with self._started(name, SpanKind.INTERNAL, None):
            yield

    def annotate(self, attributes: Attributes, name: str | None, *, failed: bool) -> None:
        current = get_current_span()
        current.set_attributes(attributes)
        if name is not None:
            current.update_name(name)
        if failed:
            current.set_status(StatusCode.ERROR)

    @contextmanager
    def _started(self, name: str, kind: SpanKind, above: Context | None) -> Iterator[None]:
        """Start a span. It records the type of an exception, but not its message, which may quote a text."""
        with self._tracer.start_as_current_span(
            name, above, kind, record_exception=False, set_status_on_exception=False
        ) as started:
            try:
                yield
            except BaseException as error:
                started.set_status(StatusCode.ERROR, type(error).__name__)
                raise


def start() -> Otlp:
    """Start the SDK, which flushes spans when the process exits."""
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):  # not configured
        resource = resource.merge(Resource({SERVICE_NAME: "embedding-runtime"}))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Otlp(provider.get_tracer("embedding_runtime"))
