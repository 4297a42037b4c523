"""Runs work until the client disconnects or the deadline passes; runs large work off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from embedding_runtime.errors import ClientGone, DeadlinePassed
from embedding_runtime.frontend.context import RequestContext

__all__ = ["run_large", "while_wanted"]

T = TypeVar("T")


async def while_wanted(context: RequestContext, work: Callable[[], Awaitable[T]]) -> T:
    """Run work until the client disconnects or the deadline passes. Raises ClientGone, DeadlinePassed.

    `work` is not referenced after its start, so that memory it holds can be freed before its end.
    """
    if context.deadline.left <= 0:
        raise DeadlinePassed(seconds=context.deadline.seconds)
    is_gone = False
    try:
        async with asyncio.timeout_at(context.deadline.at) as time:

            def leave() -> None:
                nonlocal is_gone
                is_gone = True
                time.reschedule(0)

            with _watching(context, leave):
                begun = work()
                del work
                return await begun
    except TimeoutError:
        raise (ClientGone() if is_gone else DeadlinePassed(seconds=context.deadline.seconds)) from None


@contextmanager
def _watching(context: RequestContext, leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` when the client disconnects: by a callback of `Connection`, else by waiting for ASGI's message."""
    client = context.client
    if client is not None:
        client.when_gone.add(leave)
        if client.is_gone:
            leave()
        try:
            yield
        finally:
            client.when_gone.discard(leave)
        return
    gone = asyncio.ensure_future(context.disconnected())
    gone.add_done_callback(lambda _: None if gone.cancelled() else leave())
    try:
        yield
    finally:
        gone.cancel()


_LARGE = ThreadPoolExecutor(1, thread_name_prefix="large")
"""One thread, so that the memory peaks of several large requests do not add up."""


async def run_large(work: Callable[[], T]) -> T:
    """Run work in the thread for large work, in order. Cancelling the call before it starts withdraws it."""
    return await asyncio.get_running_loop().run_in_executor(_LARGE, work)
