"""Responses to probes."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from prometheus_client import Metric

from embedding_runtime.contract import SelectedBackend
from embedding_runtime.frontend.app import create_app
from embedding_runtime.protocol.messages import LoadedModel
from support.played_worker import a_worker
from support.services import a_service


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"])
async def test_probes_do_not_quote_the_exceptions_of_the_backend(path: str) -> None:
    async with a_worker() as worker:
        worker.engine.fail("the backend failed: RuntimeError: /mnt/models/secret: out of cheese")
        transport = httpx.ASGITransport(create_app(a_service(worker.engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.get(path)
        assert answer.status_code == 503
        assert "the worker has failed; see the server's log" in answer.text
        assert "cheese" not in answer.text


@pytest.mark.parametrize(
    ("reason", "public"),
    [
        ("vLLM serves this kind of model exactly", "vLLM serves this kind of model exactly"),
        ("vllm failed: OSError: /mnt/models/secret: out of cheese", "vllm failed; see the server's log"),
        ("two\nlines", "two lines"),
        ("long " * 100, "long " * 60),
    ],
)
async def test_the_selected_backend_is_reported_without_a_key_and_without_the_words_of_an_exception(
    reason: str, public: str
) -> None:
    async with a_worker() as worker:
        worker.engine.model = LoadedModel("huggingface", reason)
        transport = httpx.ASGITransport(create_app(a_service(worker.engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            answer = await http.get("/backend")
        assert answer.json() == {"backend": "huggingface", "backend_reason": public}
        assert SelectedBackend.from_body(answer.content) is not None


async def test_before_the_model_is_loaded_no_backend_is_reported() -> None:
    async with a_worker() as worker:
        worker.engine.model = None
        transport = httpx.ASGITransport(create_app(a_service(worker.engine)))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
            assert (await http.get("/backend")).status_code == 503


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
