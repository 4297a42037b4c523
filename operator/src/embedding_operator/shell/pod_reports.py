"""Asks pods what no status says: `GET` to their own addresses, a few at a time, best effort.

A pod that does not answer is asked less and less often, and what it would say stays unknown. Answers are bounded and
validated. No rights, cookies, redirects or proxies are involved.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import aiohttp

from embedding_operator.core.objects import ObjectRef
from embedding_operator.core.questions import Answer, Question
from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.clock import Clock
from embedding_operator.shell.queue import Priority, WorkQueue

__all__ = ["PodReports", "retry_seconds"]

_log = logging.getLogger(__name__)

_INTERVAL = 5.0  # seconds between two rounds of one service, from the end of one to the beginning of the next
_TIMEOUT = aiohttp.ClientTimeout(total=2)
_LONGEST = 4096  # bytes of a body
_SERVICES = 8  # services that are asked about at once
_REQUESTS = 16  # requests that are open at once
_TRIES = 5  # failures in a row, after which a pod is asked more seldom:
_NOT_YET, _SELDOM = 30.0, 600.0  # seconds; initializers, and servers
_FORGOTTEN_AFTER = 2  # failures in a row


def retry_seconds(failures: int, *, repeats: bool) -> float:
    """How long a pod is left alone after so many failures in a row: it may not listen yet, or be out of reach.

    `repeats`: it is asked for the progress of a download, which may begin late, as after another one's lock.
    """
    if repeats:
        return _INTERVAL if failures < _TRIES else _NOT_YET
    return _INTERVAL * (1 << failures - 1) if failures < _TRIES else _SELDOM


@dataclass
class _State:
    """Of one question."""

    due_at: float | None
    """None: it was answered for good."""
    answer: Answer | None = None
    failures: int = 0


@dataclass
class _Inquiry:
    """The questions of one service. Answers of a round count together, so that they cause one reconcile."""

    states: dict[Question, _State] = field(default_factory=dict)
    not_before: float = 0.0

    def next_at(self) -> float | None:
        due = [each.due_at for each in self.states.values() if each.due_at is not None]
        return max(min(due), self.not_before) if due else None


class PodReports:
    """For one event loop. `on_change` gets the key of a service about which the pods' answers have changed."""

    def __init__(self, clock: Clock, on_change: Callable[[ObjectRef], object]) -> None:
        self._clock = clock
        self._on_change = on_change
        self._inquiries: dict[ObjectRef, _Inquiry] = {}
        self._queue: WorkQueue[ObjectRef] = WorkQueue(clock, Backoff(), group=lambda key: key.namespace)
        self._room = asyncio.Semaphore(_REQUESTS)

    def ask(self, key: ObjectRef, questions: frozenset[Question]) -> None:
        """From now on these questions instead of earlier ones; answers to others are forgotten."""
        if not questions:
            self.forget(key)
            return
        inquiry, now = self._inquiries.setdefault(key, _Inquiry()), self._clock.time()
        inquiry.states = {each: inquiry.states.get(each) or _State(due_at=now) for each in questions}
        self._schedule(key, inquiry)

    def forget(self, key: ObjectRef) -> None:
        """Nothing is to be asked any more."""
        if self._inquiries.pop(key, None):
            self._queue.forget(key)

    def of(self, key: ObjectRef) -> Mapping[str, Answer]:
        """The latest answers, by pod UID."""
        inquiry = self._inquiries.get(key)
        states = inquiry.states if inquiry else {}
        return {question.pod: each.answer for question, each in states.items() if each.answer is not None}

    async def run(self) -> None:
        """Never returns."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=_TIMEOUT,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            ) as session,
            asyncio.TaskGroup() as group,
        ):
            for number in range(_SERVICES):
                group.create_task(self._work(session), name=f"pod reports {number}")

    async def _work(self, session: aiohttp.ClientSession) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._round(session, key)
            finally:
                self._queue.done(key)
            if inquiry := self._inquiries.get(key):
                self._schedule(key, inquiry)

    def _schedule(self, key: ObjectRef, inquiry: _Inquiry) -> None:
        """Downloads go first: in a large cluster thousands of servers may be out of reach."""
        if (at := inquiry.next_at()) is not None:
            priority = Priority.CHILD if any(each.repeats for each in inquiry.states) else Priority.RESYNC
            self._queue.add_later(key, max(at - self._clock.time(), 0.0), priority)

    async def _round(self, session: aiohttp.ClientSession, key: ObjectRef) -> None:
        """Ask what is due of one service."""
        inquiry, now = self._inquiries.get(key), self._clock.time()
        if inquiry is None or now < inquiry.not_before:
            return
        due = [each for each, state in inquiry.states.items() if state.due_at is not None and state.due_at <= now]
        if not due:
            return
        answers = await asyncio.gather(*(self._ask(session, each) for each in due))
        before, now = self.of(key), self._clock.time()
        inquiry.not_before = now + _INTERVAL
        for question, answer in zip(due, answers, strict=True):
            if question in inquiry.states:  # it may have been dropped meanwhile
                _note(inquiry.states[question], question, answer, now)
        if self.of(key) != before:
            self._on_change(key)

    async def _ask(self, session: aiohttp.ClientSession, question: Question) -> Answer | None:
        """None: no answer of the expected form."""
        async with self._room:
            try:
                return question.expects.from_body(await _body(session, question.url))
            except Exception as error:  # noqa: BLE001 nothing that a pod sends may end the operator
                _log.debug("%s: %s", question.url, str(error) or type(error).__name__)
                return None


def _note(state: _State, question: Question, answer: Answer | None, now: float) -> None:
    if answer is None:
        state.failures += 1
        state.due_at = now + retry_seconds(state.failures, repeats=question.repeats)
        if state.failures >= _FORGOTTEN_AFTER:
            state.answer = None
        return
    state.answer, state.failures = answer, 0
    state.due_at = now + _INTERVAL if question.repeats else None


async def _body(session: aiohttp.ClientSession, url: str) -> bytes:
    """The body of a 200 response. Raises what aiohttp raises, OSError, and ValueError for one that is too long."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    async with session.get(url, headers=headers, allow_redirects=False) as response:
        if response.status != 200:  # noqa: PLR2004 the only status with an answer
            raise ValueError(f"HTTP status {response.status}")
        body = b""
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > _LONGEST:
                raise ValueError(f"the body is longer than {_LONGEST} bytes")
        return body
