"""Work for one request, for as long as its client is there and has time; and large work, off the loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import TypeVar

from embedding_runtime.errors import ClientGone, DeadlinePassed
from embedding_runtime.frontend.context import RequestContext

__all__ = ["reserve", "run_large", "waiting", "while_wanted"]

T = TypeVar("T")

TEXTS_IN_ANSWER = 2
"""Times the body's size: its texts in an answer that repeats them, as JSON and once more in the whole answer."""


async def while_wanted(context: RequestContext, work: Callable[[], Awaitable[T]]) -> T:
    """Do it until the client is gone or its deadline has passed. Raises ClientGone, DeadlinePassed.

    `work` is not kept once it has begun: what it holds may be freed before its end.
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


async def reserve(context: RequestContext, size: int, *, holding: int = 0) -> None:
    """Wait until there is memory for an answer of `size` bytes.

    Meanwhile the request has `holding` bytes beside its body, which are given up with it where others need the memory.
    Raises Overloaded then.
    """
    if context.keeps_texts and context.body is not None:
        size += TEXTS_IN_ANSWER * context.body.held
    share = context.answer_share
    if share is None or share.reserve_now(size):
        return
    async with waiting(context, holding):
        await share.reserve(size)


def waiting(context: RequestContext, holding: int = 0) -> AbstractAsyncContextManager[None]:
    """As `HeldBody.waiting`."""
    return nullcontext() if context.body is None else context.body.waiting(holding)


@contextmanager
def _watching(context: RequestContext, leave: Callable[[], None]) -> Iterator[None]:
    """Call `leave` when the client goes. A connection of ours tells it; else a task waits for the server's word."""
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
"""One thread: the peaks of several large requests do not add up, and there is one heap that keeps what they took."""


async def run_large(work: Callable[[], T]) -> T:
    """Do it in a thread when all that came before is done. A caller that is cancelled before that takes it back."""
    return await asyncio.get_running_loop().run_in_executor(_LARGE, work)
