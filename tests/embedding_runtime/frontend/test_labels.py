"""Scores of labels (TEI's /predict, vLLM's /classify) by problem_type, compared with transformers' pipeline."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import Response

from embedding_runtime.contract import BackendName
from embedding_runtime.frontend.context import Client, RequestContext
from embedding_runtime.frontend.dialects.tei.routes import predict
from embedding_runtime.frontend.dialects.tei.schema import PredictRequest
from embedding_runtime.frontend.dialects.vllm.routes import classify
from embedding_runtime.frontend.dialects.vllm.schema import ClassifyRequest
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.messages import Vectors
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.base import Backend
from support.played_worker import ANYBODY, a_worker
from support.services import a_service

# Words between libraries while transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

tiny = pytest.importorskip("support.tiny_models")

NAMES = ["contradiction", "entailment", "neutral"]
INPUTS: list[list[str]] = [["a quick brown fox"], ["a fox", "the lazy dog"], ["the lazy dog", "a fox"], ["dog " * 20]]
CASES = [
    (None, 3),
    ("single_label_classification", 2),
    ("multi_label_classification", 3),
    ("regression", 3),
    (None, 1),
    ("regression", 1),
]
"""problem_type and number of labels."""


@dataclass(frozen=True)
class Classifier:
    """A model, in this server's backend and in transformers' pipeline."""

    spec: ModelSpec
    backend: Backend
    pipeline: Any

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Service]:
        async with a_worker() as worker:

            async def compute() -> None:
                while True:
                    work = await worker.work()
                    worker.say(Vectors(work.batch, self.backend.embed(work.texts, work.output)))

            computing = asyncio.create_task(compute())
            yield a_service(worker.engine, spec=self.spec, backend=BackendName.HUGGINGFACE)
            computing.cancel()

    def expected(self, texts: list[str], **options: Any) -> list[dict[str, Any]]:
        """The pipeline's scores of a text or a pair, best first."""
        given = {"text": texts[0], **({"text_pair": texts[1]} if len(texts) > 1 else {})}
        found: list[dict[str, Any]] = self.pipeline(given, top_k=None, **options)
        return found


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str | None, int], Classifier]:
    @cache
    def load(problem: str | None, labels: int) -> Classifier:
        from transformers import pipeline  # noqa: PLC0415 takes seconds

        says: dict[str, Any] = {"id2label": {str(place): NAMES[place] for place in range(labels)}}
        if problem == "regression" and labels == 1:  # without it, CrossEncoder applies a sigmoid
            says["sbert_ce_default_activation_function"] = "torch.nn.modules.linear.Identity"
        directory = tmp_path_factory.mktemp("labels") / "model"
        model = tiny.a_cross_encoder(directory, tiny.SHAPES["bert"], labels, {**says, "problem_type": problem})
        spec = ModelSpec.read(model)
        backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
        return Classifier(spec, backend, pipeline("text-classification", model=str(model), device="cpu"))

    return load


def a_context() -> RequestContext:
    return RequestContext("1", ANYBODY, client=Client())


def content(answer: Response) -> Any:
    return json.loads(bytes(answer.body))


def assert_same(found: list[dict[str, Any]], wanted: list[dict[str, Any]]) -> None:
    assert [item["label"] for item in found] == [item["label"] for item in wanted]
    ours, theirs = (np.array([item["score"] for item in each]) for each in (found, wanted))
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize(("problem", "labels"), CASES)
async def test_predict_equals_transformers_pipeline(classifier: Any, problem: str | None, labels: int) -> None:
    model = classifier(problem, labels)
    async with model.serving() as service:
        answer = await predict(service, PredictRequest(inputs=INPUTS), a_context())
    for found, texts in zip(content(answer), INPUTS, strict=True):
        assert_same(found, model.expected(texts))


@pytest.mark.parametrize(("problem", "labels"), CASES)
async def test_raw_scores_are_the_logits(classifier: Any, problem: str | None, labels: int) -> None:
    model = classifier(problem, labels)
    async with model.serving() as service:
        answer = await predict(service, PredictRequest(inputs=INPUTS, raw_scores=True), a_context())
    for found, texts in zip(content(answer), INPUTS, strict=True):
        assert_same(found, model.expected(texts, function_to_apply="none"))


@pytest.mark.parametrize(("problem", "labels"), CASES)
async def test_classify_equals_transformers_pipeline(classifier: Any, problem: str | None, labels: int) -> None:
    model = classifier(problem, labels)
    texts = [texts[0] for texts in INPUTS]
    async with model.serving() as service:
        answer = await classify(service, ClassifyRequest(input=texts), a_context())
    for item, text in zip(content(answer)["data"], texts, strict=True):
        wanted = model.expected([text])
        assert (item["label"], item["num_classes"]) == (wanted[0]["label"], labels)
        by_name = {each["label"]: each["score"] for each in wanted}
        assert np.abs(np.array(item["probs"]) - [by_name[name] for name in NAMES[:labels]]).max() < 1e-5


def test_an_unknown_problem_type_is_refused_as_by_transformers(tmp_path: Path) -> None:
    model = tiny.a_cross_encoder(tmp_path, tiny.SHAPES["bert"], 3, {"problem_type": "ranking"})
    with pytest.raises(ModelRefused, match=r"config.json has problem_type 'ranking', which must be one of regression"):
        ModelSpec.read(model)
