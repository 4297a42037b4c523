"""What probes are told."""

import httpx
import pytest

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
