"""Runs work until the client disconnects or the deadline passes; runs large work off the event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import TypeVar

from embedding_runtime.errors import ClientGone, DeadlinePassed
from embedding_runtime.frontend.context import RequestContext

__all__ = ["expire", "reserve", "run_large", "waiting", "while_wanted"]

T = TypeVar("T")

TEXTS_IN_ANSWER = 2
"""Memory for the texts in a response that repeats them, as a multiple of the body: JSON, and the whole response."""


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
                expire(time)

            with _watching(context, leave):
                begun = work()
                del work
                return await begun
    except TimeoutError:
        raise (ClientGone() if is_gone else DeadlinePassed(seconds=context.deadline.seconds)) from None


def expire(timeout: asyncio.Timeout) -> None:
    """Let a timeout expire now, unless it has just expired: `reschedule` would raise RuntimeError."""
    if not timeout.expired():
        timeout.reschedule(0)


async def reserve(context: RequestContext, size: int, *, holding: int = 0) -> None:
    """Reserve memory for a response of `size` bytes, and wait until it is available.

    It replaces what the request has reserved before. `holding`: bytes that the request holds beside its body. If others
    need this memory meanwhile, the request is dropped. Raises Overloaded then.
    """
    if context.keeps_texts and context.body is not None:
        size += TEXTS_IN_ANSWER * context.body.held
    share = context.answer_share
    if share is None or share.exchange(size) or share.reserve_now(size):
        return
    async with waiting(context, holding):
        await share.reserve(size)


def waiting(context: RequestContext, holding: int = 0) -> AbstractAsyncContextManager[None]:
    """See `HeldBody.waiting`."""
    return nullcontext() if context.body is None else context.body.waiting(holding)


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
