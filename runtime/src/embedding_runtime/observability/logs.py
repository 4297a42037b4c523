"""Logging to stderr, as text or JSON, with the request id and without texts of requests."""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from embedding_runtime.contract import LogFormat

__all__ = ["ACCESS", "REQUEST_ID", "configure"]

ACCESS = logging.getLogger("embedding_runtime.access")
"""The access log, with one line per request. `fields` of a record are added to its line."""


REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""Id of the current request, which every log line has."""


def configure(log_format: LogFormat, *, access_log: bool = False, sees_texts: bool) -> None:
    """Configure logging. Libraries log only warnings and errors. `sees_texts`: omit messages of exceptions."""
    formatter = _Json if log_format is LogFormat.JSON else _Text
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(quotes_exceptions=not sees_texts))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("embedding_runtime").setLevel(logging.INFO)
    ACCESS.setLevel(logging.INFO if access_log else logging.WARNING)


class _Text(logging.Formatter):
    def __init__(self, *, quotes_exceptions: bool) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
        self._quotes = quotes_exceptions

    def formatException(self, info: Any) -> str:  # noqa: N802 logging's name
        return super().formatException(info) if self._quotes else _without_message(*info)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 logging's name
        fields = "".join(f" {name}={value}" for name, value in self._fields(record).items())
        return super().formatMessage(record) + fields

    def _fields(self, record: logging.LogRecord) -> dict[str, Any]:
        request_id = REQUEST_ID.get()
        return {**getattr(record, "fields", {}), **({} if request_id is None else {"request_id": request_id})}


class _Json(_Text):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False, default=str)


def _without_message(kind: type[BaseException], _: BaseException, where: TracebackType | None) -> str:
    return "".join(["Traceback (most recent call last):\n", *traceback.format_tb(where), kind.__qualname__])
