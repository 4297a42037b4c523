"""The operator's questions, answered by the initializer's and the server's own code."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from embedding_operator.core.questions import Answer, Question
from embedding_operator.shell.pod_reports import PodReports
from embedding_runtime.contract import BACKEND_PATH, PROGRESS_PATH, BackendName, DownloadProgress, SelectedBackend
from embedding_runtime.storage.progress import Meter
from embedding_runtime.storage.progress_server import ProgressServer
from support.clock import eventually
from support.controlled import service_key
from support.runtime_server import RuntimeServer


@asynccontextmanager
async def answered(url: str, expects: type[DownloadProgress] | type[SelectedBackend]) -> AsyncIterator[Answer]:
    """What the poller gets there."""
    key = service_key()
    reports = PodReports(asyncio.get_running_loop(), lambda _: None)
    task = asyncio.create_task(reports.run())
    try:
        reports.ask(key, frozenset({Question("pod", 0, url, expects)}))
        await eventually(lambda: reports.of(key))
        yield reports.of(key)["pod"]
    finally:
        task.cancel()
        await asyncio.wait({task})


async def test_an_initializer_reports_its_progress() -> None:
    server = ProgressServer(0)
    try:
        server.show(Meter(total=200, done=90))
        async with answered(f"http://127.0.0.1:{server.port}{PROGRESS_PATH}", DownloadProgress) as answer:
            assert isinstance(answer, DownloadProgress)
            assert (answer.done_bytes, answer.total_bytes) == (90, 200)
    finally:
        server.close()


async def test_a_server_reports_its_backend() -> None:
    with RuntimeServer("fake") as server:
        await asyncio.to_thread(server.ready)
        async with answered(f"{server.url}{BACKEND_PATH}", SelectedBackend) as answer:
            assert answer == SelectedBackend(backend=BackendName.FAKE, backend_reason="--backend=fake is set")
