"""Errors that end the worker's process."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused
from embedding_runtime.protocol.messages import Broken
from embedding_runtime.worker.io import SchedulerLink

__all__ = ["broken", "fatal"]

_log = logging.getLogger(__name__)


def broken(backend: BackendName, error: Exception) -> Broken:
    """The message about an error that ends the process; logs it, unless it is about the model."""
    if isinstance(error, ModelRefused):
        return Broken(str(error))
    _log.error("the %s backend failed", backend, exc_info=error)
    words = " ".join(str(error).split())
    return Broken(f"the {backend} backend failed: {type(error).__name__}: {words}")


@contextmanager
def fatal(link: SchedulerLink, name: BackendName) -> Iterator[None]:
    """End the process after any exception, in any thread. BatchFailed is handled before."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 a library may raise anything
        link.send_last(broken(name, error))
        os._exit(1)
