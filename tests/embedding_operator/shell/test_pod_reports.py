"""Pods are asked in turns, best effort, and whatever they send does no harm."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from embedding_operator.core.objects import ObjectRef
from embedding_operator.core.questions import Question
from embedding_operator.shell import pod_reports
from embedding_operator.shell.pod_reports import PodReports, retry_seconds
from embedding_runtime.contract import BackendName, DownloadProgress, SelectedBackend
from support.clock import ManualClock, eventually, settle
from support.controlled import service_key
from support.pods import Pods, Reply, as_json, pods

KEY = service_key()
BACKEND = as_json(backend="vllm", backend_reason="vLLM serves this kind of model exactly")


def so_far(done: int) -> bytes:
    return as_json(done_bytes=done, total_bytes=100, bytes_per_second=9)


def progress(done: int) -> DownloadProgress:
    return DownloadProgress(done_bytes=done, total_bytes=100, bytes_per_second=9)


class World:
    """A poller, its clock, and the pods that it asks."""

    def __init__(self, server: Pods) -> None:
        self.pods = server
        self.clock = ManualClock()
        self.changed: list[ObjectRef] = []
        self.reports = PodReports(self.clock, self.changed.append)

    def question(
        self, pod: str, expects: type[DownloadProgress] | type[SelectedBackend] = DownloadProgress
    ) -> Question:
        return Question(pod, 0, self.pods.url(f"/{pod}"), expects)

    def ask(self, *names: str) -> None:
        self.reports.ask(KEY, frozenset(map(self.question, names)))

    async def round(self, *names: str, asked: int) -> None:
        """Until these pods were asked so often in all, and the round has ended."""
        await eventually(lambda: all(self.pods.seen[f"/{each}"] >= asked for each in names))
        await eventually(lambda: self.is_waiting)

    @property
    def is_waiting(self) -> bool:
        return any(not each.cancelled for each in self.clock.calls)

    @property
    def answers(self) -> dict[str, object]:
        return dict(self.reports.of(KEY))


@asynccontextmanager
async def a_world(host: str = "127.0.0.1", **replies: Reply) -> AsyncIterator[World]:
    async with pods(host) as server:
        world = World(server)
        server.replies |= {f"/{pod}": reply for pod, reply in replies.items()}
        task = asyncio.create_task(world.reports.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_the_answers_of_a_service_s_pods_are_one_change() -> None:
    async with a_world(a=so_far(1), b=so_far(2), c=so_far(3)) as world:
        world.ask("a", "b", "c")
        await eventually(lambda: world.changed)
        assert world.answers == {"a": progress(1), "b": progress(2), "c": progress(3)}
        await world.round("a", "b", "c", asked=1)
        assert world.changed == [KEY]


async def test_a_download_is_asked_about_every_five_seconds_and_only_news_is_a_change() -> None:
    async with a_world(a=so_far(1)) as world:
        world.ask("a")
        await world.round("a", asked=1)
        await world.clock.advance(4.9)
        assert world.pods.seen["/a"] == 1
        await world.clock.advance(0.1)
        await world.round("a", asked=2)
        assert world.changed == [KEY]
        world.pods.replies["/a"] = so_far(2)
        await world.clock.advance(5)
        await world.round("a", asked=3)
        assert (world.changed, world.answers) == ([KEY, KEY], {"a": progress(2)})


async def test_a_pod_that_joins_is_asked_in_the_next_round_so_that_a_service_changes_once_in_five_seconds() -> None:
    async with a_world(a=so_far(1), b=so_far(2)) as world:
        world.ask("a")
        await world.round("a", asked=1)
        world.ask("a", "b")
        await world.clock.advance(4.9)
        assert world.pods.seen["/b"] == 0
        await world.clock.advance(0.1)
        await world.round("a", "b", asked=1)
        assert world.answers == {"a": progress(1), "b": progress(2)}


async def test_a_server_is_asked_for_its_backend_once() -> None:
    async with a_world(a=BACKEND) as world:
        question = world.question("a", SelectedBackend)
        world.reports.ask(KEY, frozenset({question}))
        await eventually(lambda: world.changed)
        await settle()
        assert not world.is_waiting
        world.reports.ask(KEY, frozenset({question}))
        await world.clock.advance(10_000)
        assert world.pods.seen["/a"] == 1
        reason = "vLLM serves this kind of model exactly"
        assert world.answers == {"a": SelectedBackend(backend=BackendName.VLLM, backend_reason=reason)}


async def test_pods_that_are_gone_are_forgotten() -> None:
    async with a_world(a=so_far(1), b=so_far(2)) as world:
        world.ask("a", "b")
        await world.round("a", "b", asked=1)
        world.ask("b")
        assert world.answers == {"b": progress(2)}
        world.reports.forget(KEY)
        assert world.answers == {}
        assert not world.is_waiting
        await world.clock.advance(1000)
        assert dict(world.pods.seen) == {"/a": 1, "/b": 1}


async def test_where_nothing_is_to_be_asked_nothing_happens() -> None:
    async with a_world() as world:
        world.reports.ask(KEY, frozenset())
        await world.clock.advance(10_000)
        assert (world.clock.calls, world.pods.requests, world.changed) == ([], [], [])


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 600), (6, 600), (999, 600)])
def test_a_server_that_does_not_answer_is_tried_five_times_and_then_every_ten_minutes(
    failures: int, seconds: float
) -> None:
    assert retry_seconds(failures, repeats=False) == seconds


@pytest.mark.parametrize(("failures", "seconds"), [(1, 5), (2, 5), (4, 5), (5, 30), (999, 30)])
def test_an_initializer_that_does_not_answer_may_begin_late_and_is_tried_every_half_minute(
    failures: int, seconds: float
) -> None:
    assert retry_seconds(failures, repeats=True) == seconds


async def test_one_lost_answer_leaves_the_last_one_and_a_second_makes_it_unknown() -> None:
    async with a_world(a=so_far(1)) as world:
        world.ask("a")
        await world.round("a", asked=1)
        del world.pods.replies["/a"]
        await world.clock.advance(5)
        await world.round("a", asked=2)
        assert world.answers == {"a": progress(1)}
        await world.clock.advance(5)
        await world.round("a", asked=3)
        assert (world.answers, world.changed) == ({}, [KEY, KEY])
        world.pods.replies["/a"] = so_far(2)
        await world.clock.advance(5)
        await world.round("a", asked=4)
        assert world.answers == {"a": progress(2)}


async def endless_body(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await endlessly(writer, b" " * 65536)


async def endless_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    await endlessly(writer, b"X-More: and more\r\n" * 1000)


async def endless_header(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
    await endlessly(writer, b"x" * 65536)


async def endlessly(writer: asyncio.StreamWriter, data: bytes) -> None:
    while True:
        writer.write(data)
        await writer.drain()


async def no_answer(_: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def half_an_answer(writer: asyncio.StreamWriter) -> None:
    writer.write(so_far(1)[:-5])
    await writer.drain()
    await asyncio.Event().wait()


def ok(body: bytes, *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="closed"),
        pytest.param(b"\x00\xff" * 999, id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="bad chunk"),
        pytest.param(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n", id="500"),
        pytest.param(so_far(1).replace(b"200 OK", b"203 Other"), id="203"),
        pytest.param(ok(b""), id="empty"),
        pytest.param(ok(b"{"), id="no JSON"),
        pytest.param(ok(b"[" * 4000), id="deep JSON"),
        pytest.param(ok(b'{"done_bytes": %s}' % (b"9" * 4000)), id="huge number"),
        pytest.param(ok(b'{"done_bytes": -1, "total_bytes": 1, "bytes_per_second": 1}'), id="negative number"),
        pytest.param(ok(b'{"done_bytes": 1e400, "total_bytes": 1, "bytes_per_second": 1}'), id="infinite number"),
        pytest.param(ok(b'{"done_bytes": 1}'), id="incomplete"),
        pytest.param(ok(b'{"\xff": 1}'), id="no UTF-8"),
        pytest.param(ok(b" " * 5000 + b'{"done_bytes": 1, "total_bytes": 1, "bytes_per_second": 1}'), id="too long"),
        pytest.param(ok(b"x" * 100, b"Content-Encoding: gzip"), id="no gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100_000 + b"\r\n", id="many headers"),
        pytest.param(endless_body, id="endless body"),
        pytest.param(endless_headers, id="endless headers"),
        pytest.param(endless_header, id="endless header"),
        pytest.param(no_answer, id="no answer"),
        pytest.param(half_an_answer, id="half an answer"),
    ],
)
async def test_an_answer_of_another_form_is_none_and_the_others_are_heard(
    reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_reports, "_TIMEOUT", aiohttp.ClientTimeout(total=1.5))
    async with a_world(a=reply, b=so_far(2)) as world:
        world.ask("a", "b")
        await eventually(lambda: world.changed)
        assert world.answers == {"b": progress(2)}
        await world.round("a", "b", asked=1)
        await world.clock.advance(5)
        await world.round("a", "b", asked=2)


async def test_a_pod_that_refuses_the_connection_gives_no_answer_and_is_tried_again() -> None:
    async with a_world(b=so_far(2)) as world:
        refused = Question("a", 0, "http://127.0.0.1:1/a", DownloadProgress)
        world.reports.ask(KEY, frozenset({refused, world.question("b")}))
        await world.round("b", asked=1)
        assert world.answers == {"b": progress(2)}


async def test_redirects_are_not_followed() -> None:
    async with a_world(b=so_far(2)) as world:
        world.pods.replies["/a"] = (
            b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % world.pods.url("/b").encode()
        )
        world.ask("a")
        await world.round("a", asked=1)
        assert (dict(world.pods.seen), world.answers) == ({"/a": 1}, {})


async def test_neither_proxies_nor_cookies_nor_credentials_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with a_world(a=so_far(1).replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n", 1)) as world:
        world.ask("a")
        await world.round("a", asked=1)
        await world.clock.advance(5)
        await world.round("a", asked=2)
        assert world.answers == {"a": progress(1)}
        for request in world.pods.requests:
            assert b"cookie" not in request.lower()
            assert b"authorization" not in request.lower()


async def test_a_few_pods_are_asked_at_a_time() -> None:
    names = [f"p{number}" for number in range(60)]
    async with a_world() as world:
        world.pods.replies = {f"/{name}": so_far(1) for name in names}
        for number, name in enumerate(names):
            world.reports.ask(service_key(f"s-{number % 20}"), frozenset({world.question(name)}))
        world.ask(*names)
        await eventually(lambda: len(world.answers) == len(names))
        assert 1 < world.pods.most_open <= 16


async def test_a_pod_at_an_ipv6_address_is_asked() -> None:
    try:
        async with a_world("::1", a=so_far(1)) as world:
            world.ask("a")
            await world.round("a", asked=1)
            assert world.answers == {"a": progress(1)}
    except OSError:
        pytest.skip("this machine has no IPv6")


async def test_random_bytes_end_neither_the_poller_nor_the_other_pods() -> None:
    chance = random.Random(20261127)
    heads = (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200\r\nContent-Length: 9\r\n\r\n")
    hostile = {f"/h{number}": chance.choice(heads) + chance.randbytes(chance.randrange(200)) for number in range(200)}
    async with a_world(a=so_far(1)) as world:
        world.pods.replies |= hostile
        world.ask("a", *(path.removeprefix("/") for path in hostile))
        await eventually(lambda: world.changed)
        assert world.answers == {"a": progress(1)}
