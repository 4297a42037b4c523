"""The scheduler's side of frontends in other processes."""

import asyncio
import logging
import socket
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from embedding_runtime.errors import RuntimeFault
from embedding_runtime.observability import gather
from embedding_runtime.protocol.link import MessageLink
from embedding_runtime.protocol.messages import (
    Cancel,
    Charge,
    Check,
    Collect,
    Fault,
    Granted,
    Message,
    RequestRows,
    Samples,
    Scrape,
    Scraped,
    Serving,
    StateChange,
    Stop,
    Submit,
)
from embedding_runtime.protocol.requests import Principal
from embedding_runtime.scheduler.engine import Engine
from embedding_runtime.scheduler.job import Job
from embedding_runtime.scheduler.scrapes import Scrapes

__all__ = ["Frontends"]

_log = logging.getLogger(__name__)


class Frontends:
    """All frontends of a server. Use it on the engine's event loop only."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._links: dict[int, _FrontendLink] = {}
        self._scrapes = Scrapes(lambda number: self._links[number].send(Collect()), engine.metrics)
        self._tasks: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        self.all_serve: asyncio.Future[None] = loop.create_future()
        """Done once all of them accept connections."""
        self.stopping: asyncio.Future[None] = loop.create_future()
        """Done once `stop` has been called."""
        self.gone: asyncio.Event = asyncio.Event()
        """Set once all of them have exited."""
        engine.followers.append(self._announce)

    async def connect(self, ends: Sequence[socket.socket]) -> asyncio.Future[int]:
        """Connect to a frontend over each of these sockets. The future gets the number of the first that exits."""
        lost: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        for number, end in enumerate(ends):
            self._links[number] = link = _FrontendLink(self._engine, partial(self._other, number))
            await link.connect(end, partial(self._gone, number, lost))
        self._announce()
        return lost

    def stop(self, *, now: bool = False) -> None:
        """Stop all of them; see `messages.Stop`."""
        self._broadcast(Stop(now))
        if not self.stopping.done():
            self.stopping.set_result(None)

    def _announce(self) -> None:
        engine = self._engine
        self._broadcast(StateChange(engine.state.name, engine.reason, engine.cosine, engine.model))

    def _broadcast(self, message: Message) -> None:
        for link in self._links.values():
            link.send(message)

    def _gone(self, number: int, lost: asyncio.Future[int], problem: str | None) -> None:
        if problem is not None:
            _log.error("frontend %d: %s", number, problem)
        self._links.pop(number).withdraw_all()
        self._scrapes.gone(number)
        if not self._links:
            self.gone.set()
        if not lost.done():
            lost.set_result(number)

    def _other(self, number: int, message: Message) -> None:
        """Handle a message that concerns more than one frontend."""
        match message:
            case Serving():
                self._links[number].is_serving = True
                if all(link.is_serving for link in self._links.values()) and not self.stopping.done():
                    self.all_serve.set_result(None)
            case Samples(families):
                self._scrapes.answered(number, families)
            case Scrape(request):
                task = asyncio.create_task(self._answer_scrape(self._links[number], request))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def _answer_scrape(self, link: "_FrontendLink", request: int) -> None:
        """Send the metrics of each process. The frontend merges them, because this loop is the scheduler's."""
        parts = await self._scrapes.collect(self._links)
        link.send(Scraped(request, [gather.to_json(await self._engine.collect()), *parts]))


class _FrontendLink:
    """One frontend and its requests."""

    def __init__(self, engine: Engine, other: Callable[[Message], None]) -> None:
        self.is_serving = False
        self._engine, self._other = engine, other
        self._link: MessageLink | None = None
        self._jobs: dict[int, Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def connect(self, end: socket.socket, closed: Callable[[str | None], None]) -> None:
        self._link = await MessageLink.connect(end, self._handle, closed)

    def send(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)

    def withdraw_all(self) -> None:
        """Withdraw all of its requests."""
        for job in self._jobs.values():
            self._engine.withdraw(job)
        self._jobs.clear()

    def _handle(self, message: Message) -> None:
        match message:
            case Submit():
                self._submit(message)
            case Cancel(request):
                job = self._jobs.pop(request, None)
                if job is not None:
                    self._engine.withdraw(job)
            case Check(request, texts, tokens, principal, lane, seconds):
                check = self._engine.check_admission(texts, tokens, principal, lane=lane, seconds=seconds)
                self._answer_soon(request, principal, check)
            case Charge(request, principal, tokens, only_checks):
                charge = self._engine.check_budget if only_checks else self._engine.charge
                self._answer_soon(request, principal, charge(principal, tokens))
            case _:
                self._other(message)

    def _submit(self, asked: Submit) -> None:
        try:
            job = self._engine.submit(
                asked.texts, asked.principal, lane=asked.lane, seconds=asked.seconds, output=asked.output
            )
        except RuntimeFault as fault:
            self._refuse(asked.request, asked.principal, fault)
            return
        self._jobs[asked.request] = job
        job.done.add_done_callback(partial(self._done, asked.request, asked.principal, job))

    def _done(self, request: int, principal: Principal, job: Job, done: "asyncio.Future[Any]") -> None:
        if done.cancelled():
            return
        self._jobs.pop(request, None)
        self._engine.withdraw(job)
        fault = done.exception()
        if fault is None:
            self.send(RequestRows(request, done.result(), job.queued or 0.0, self._engine.rate_limit(principal)))
        elif isinstance(fault, RuntimeFault):
            self._refuse(request, principal, fault)
        else:
            raise fault

    def _answer_soon(self, request: int, principal: Principal, work: Any) -> None:
        task = asyncio.create_task(self._answer(request, principal, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, request: int, principal: Principal, work: Any) -> None:
        try:
            await work
        except RuntimeFault as fault:
            self._refuse(request, principal, fault)
        else:
            self.send(Granted(request, self._engine.rate_limit(principal)))

    def _refuse(self, request: int, principal: Principal, fault: RuntimeFault) -> None:
        attributes: Mapping[str, Any] = vars(fault)
        limit = self._engine.rate_limit(principal)
        self.send(Fault(request, type(fault).__name__, str(fault), attributes, limit))
