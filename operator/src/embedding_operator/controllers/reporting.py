"""Reports each failure of a reconcile in the status, and raises it."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import Bug, Fault, LeaseLost

__all__ = ["failures_reported"]

_log = logging.getLogger(__name__)


@asynccontextmanager
async def failures_reported(key: ObjectRef, report: Callable[[Fault], Awaitable[None]]) -> AsyncIterator[None]:
    """Call `report` with a Fault that the block raises, and raise it. Any other exception is a Bug.

    A report that fails is logged: what counts is the fault that was to be reported.
    """
    try:
        yield
    except LeaseLost:
        raise
    except Fault as fault:
        await _try_to_report(key, fault, report)
        raise
    except Exception as error:
        _log.exception("%s: a bug in the operator", key)
        bug = Bug(error)
        await _try_to_report(key, bug, report)
        raise bug from error


async def _try_to_report(key: ObjectRef, fault: Fault, report: Callable[[Fault], Awaitable[None]]) -> None:
    try:
        await report(fault)
    except Fault as second:
        _log.warning("%s: %s; its status cannot say so: %s", key, fault, second)
    except Exception:  # noqa: BLE001 the fault that was to be reported is what counts: it is raised
        _log.exception("%s: %s; its status cannot say so: a bug in the operator", key, fault)
