"""Spans of requests and their steps, exported if the environment configures a collector.

No span contains a text of a request or the message of an exception. Like logging, the configuration is global.
"""

import importlib
import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

__all__ = ["Attributes", "Tracing", "annotate", "configure", "request", "span"]

_log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

Attributes = Mapping[str, str | int | float]


class Tracing(Protocol):
    """Receiver of spans, implemented by `otlp`."""

    def request(self, method: str, headers: Mapping[str, str]) -> AbstractContextManager[object]: ...
    def span(self, name: str) -> AbstractContextManager[object]: ...
    def annotate(self, attributes: Attributes, name: str | None, *, failed: bool) -> None: ...


_tracing: Tracing | None = None


def configure(environ: Mapping[str, str]) -> None:
    """Configure tracing from the environment. OpenTelemetry is imported only if a collector is configured."""
    global _tracing  # noqa: PLW0603 see the module's docstring
    _tracing = None
    off = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or environ.get("OTEL_TRACES_EXPORTER") == "none"
    if off or not any(environ.get(name) for name in ENDPOINTS):
        return
    try:
        _tracing = importlib.import_module("embedding_runtime.observability.otlp").start()
    except ModuleNotFoundError as error:
        _log.warning("tracing is off although %s is set: %s; install embedding-runtime[otel]", ENDPOINTS[0], error)


def request(method: str, headers: Mapping[str, str]) -> AbstractContextManager[object]:
    """Start the span of a request, in the trace of its traceparent header."""
    return nullcontext() if _tracing is None else _tracing.request(method, headers)


def span(name: str) -> AbstractContextManager[object]:
    """Start the span of a step."""
    return nullcontext() if _tracing is None else _tracing.span(name)


def annotate(attributes: Attributes, *, name: str | None = None, failed: bool = False) -> None:
    """Add attributes to the current span; `name` renames it."""
    if _tracing is not None:
        _tracing.annotate(attributes, name, failed=failed)
