"""Logs as text or JSON, one line a message, with the key that is being reconciled as fields of its own."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from embedding_operator.core.objects import ObjectRef
from embedding_operator.settings import Settings

__all__ = ["reconciling", "set_up"]

_key: ContextVar[object] = ContextVar("key", default=None)


@contextmanager
def reconciling(key: object) -> Iterator[None]:
    """What is logged within is about that key."""
    token = _key.set(key)
    try:
        yield
    finally:
        _key.reset(token)


def set_up(settings: Settings) -> None:
    """Send all logs to stderr. kopf logs warnings and errors only, unless everything is asked for."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(_Json() if settings.log_format == "json" else text)
    handler.addFilter(_calmed)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("kopf").setLevel("DEBUG" if settings.log_level == "DEBUG" else "WARNING")


def _calmed(record: logging.LogRecord) -> bool:
    """kopf logs as an error whatever it retries: 429 from each CRD that was just installed, a restart of the server."""
    if record.name.startswith("kopf") and record.levelno == logging.ERROR and "will retry" in record.getMessage():
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if isinstance(key := _key.get(), ObjectRef):
            entry |= {"kind": key.kind, "namespace": key.namespace or "", "name": key.name}
            entry["key"] = f"{key.namespace}/{key.name}" if key.namespace else key.name
        if record.exc_info:
            entry["trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)
