"""Two frontends and two workers with a real backend return the same vectors."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from support.models import GOLDEN_ENDS, GOLDEN_TEXT
from support.runtime_server import RuntimeServer

pytestmark = pytest.mark.model


def test_every_frontend_and_worker_returns_the_golden_vector() -> None:
    with RuntimeServer("huggingface", frontends=2, workers=2) as server:
        server.ready()
        assert "2 workers: transformers" in server.log
        requests = [[GOLDEN_TEXT], *([f"sentence number {n}, " * n, GOLDEN_TEXT] for n in range(1, 16))]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda texts: server.embeddings(input=texts), requests))
        assert {answer.status_code for answer in answers} == {200}
        for answer in answers:
            vector = answer.json()["data"][-1]["embedding"]
            assert vector[:3] + vector[-3:] == pytest.approx(GOLDEN_ENDS, abs=1e-5)
        assert server.metric("embedding_texts_total") == sum(map(len, requests))
        assert server.metric("embedding_workers") == 2
