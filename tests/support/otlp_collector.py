"""An OpenTelemetry collector on loopback: takes spans over OTLP and HTTP, and keeps them as they were encoded."""

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["OtlpCollector", "SeenSpan"]


@dataclass(frozen=True)
class SeenSpan:
    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    status: str
    """A StatusCode's number and its words."""
    attributes: dict[str, Any]


class OtlpCollector:
    """A context manager; `spans` are those that have come."""

    def __init__(self) -> None:
        self.raw = b""
        self.spans: list[SeenSpan] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                assert self.path == "/v1/traces"
                collector._take(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Type", "application/x-protobuf")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _take(self, body: bytes) -> None:
        self.raw += body
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {item.key: item.value.string_value for item in group.resource.attributes}["service.name"]
            for span in (span for scope in group.scope_spans for span in scope.spans):
                values = {item.key: item.value for item in span.attributes}
                self.spans.append(
                    SeenSpan(
                        service,
                        span.name,
                        span.trace_id.hex(),
                        span.span_id.hex(),
                        span.parent_span_id.hex(),
                        f"{span.status.code} {span.status.message}".strip(),
                        {key: getattr(value, str(value.WhichOneof("value"))) for key, value in values.items()},
                    )
                )
