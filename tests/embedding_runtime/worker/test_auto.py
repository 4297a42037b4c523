"""A server whose flags name no backend: which one serves, what it says of it, and that its vectors are right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.models import GOLDEN_ENDS, GOLDEN_TEXT
from support.runtime_server import RuntimeServer

pytestmark = pytest.mark.model

tiny = pytest.importorskip("support.tiny_models")
pytest.importorskip("vllm")

WAIT = 420
"""Seconds: importing vLLM takes half a minute, on a machine that has nothing else to do."""

TEXTS = ["the quick brown fox", "jumps over", "the lazy dog " * 9]


def said(server: RuntimeServer) -> dict[str, Any]:
    (model,) = server.get("/v1/models").json()["data"]
    return dict(model)


def vectors(server: RuntimeServer) -> Any:
    answer = server.embeddings(input=TEXTS)
    assert answer.status_code == 200, answer.text
    return np.array([each["embedding"] for each in answer.json()["data"]])


def reference(model: Path) -> Any:
    found = tiny.SentenceTransformer(str(model), device="cpu")
    return np.concatenate([found.encode([text], show_progress_bar=False) for text in TEXTS])


@pytest.mark.parametrize("frontends", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_vllm_serves_the_guides_model_and_every_frontend_reports_why(frontends: int) -> None:
    with RuntimeServer("auto", frontends=frontends) as server:
        server.ready()
        assert said(server)["backend"] == "vllm"
        assert said(server)["backend_reason"] == "vLLM serves this kind of model exactly"
        assert server.metric("embedding_model_info", backend="vllm") == 1
        answer = server.client().embeddings.create(model="sentence-transformer", input=GOLDEN_TEXT)
        found = answer.data[0].embedding
        assert [*found[:3], *found[-3:]] == pytest.approx(GOLDEN_ENDS, abs=1e-5)
        assert "backend: vllm (vLLM serves this kind of model exactly)" in server.log


def test_huggingface_serves_a_model_without_a_class_in_vllm(tmp_path: Path) -> None:
    model = tiny.a_transformer(tmp_path, tiny.SHAPES["distilbert"])
    with RuntimeServer("auto", model=model) as server:
        server.ready()
        assert said(server)["backend"] == "huggingface"
        assert said(server)["backend_reason"] == "vLLM has no class of its own for DistilBertModel"
        assert "falling back" not in server.log
        assert np.abs(vectors(server) - reference(model)).max() < 1e-4


def test_huggingface_takes_over_if_vllm_cannot_load_a_model(tmp_path: Path) -> None:
    model = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"])  # heads of 8, for which vLLM has no attention on CPUs
    with RuntimeServer("auto", model=model, task="text_embedding") as server:
        server.ready()
        assert said(server)["backend"] == "huggingface"
        assert "vLLM cannot load" in said(server)["backend_reason"] or "vllm failed" in said(server)["backend_reason"]
        assert "falling back to huggingface" in server.log
        assert server.metric("embedding_model_info", backend="huggingface") == 1
        assert np.abs(vectors(server) - reference(model)).max() < 1e-4


def test_an_explicit_vllm_refuses_the_model_with_a_remedy(tmp_path: Path) -> None:
    model = tiny.saved(tmp_path / "saved", tiny.a_transformer(tmp_path / "plain", tiny.SHAPES["bert"]), pooling="max")
    with RuntimeServer("vllm", model=model) as server:
        assert server.process.wait(WAIT) == 1
        assert "pools by max" in server.log
        assert "use --backend=huggingface, or remove --backend" in server.log
