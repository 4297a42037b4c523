"""Responses to probes."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from prometheus_client import Metric

from embedding_runtime.frontend.app import create_app
from support.played_worker import a_worker
from support.services import a_service


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_probes_do_not_quote_the_exceptions_of_the_backend(path: str) -> None:
    async with a_worker() as worker:
        worker.engine.fail("the backend failed: RuntimeError: /mnt/models/secret: out of cheese")
        transport = httpx.ASGITransport(create_app(a_service(worker.engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.get(path)
        assert answer.status_code == 503
        assert answer.text == "the worker has failed; see the server's log\n"


async def test_concurrent_scrapes_share_a_collection() -> None:
    async with a_worker() as worker:
        collections = 0
        collect = worker.engine.collect

        async def counted() -> Sequence[Metric]:
            nonlocal collections
            collections += 1
            return await collect()

        worker.engine.collect = counted  # type: ignore[method-assign]
        transport = httpx.ASGITransport(create_app(a_service(worker.engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answers = await asyncio.gather(*(http.get("/metrics") for _ in range(100)))
            assert [answer.status_code for answer in answers] == [200] * 100
            assert collections < 10  # the client does not send all of them at once
            later = await http.get("/metrics")
        assert 'path="/metrics"} 100.0' in later.text
