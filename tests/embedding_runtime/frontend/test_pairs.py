"""Pairs of texts, from the request to the scores; errors of the other kind of model."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.errors import BadRequest, InputTooLong
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model import ModelSpec, Scores
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.token_batch import TokenBatch
from support.played_worker import a_worker
from support.services import MINILM, a_service

SCORES = replace(MINILM, scores=Scores(1, "torch.nn.Sigmoid", "BertForSequenceClassification"), max_length=16)


@asynccontextmanager
async def serving(
    spec: ModelSpec = SCORES, backend: BackendName = BackendName.FAKE, **limits: int
) -> AsyncIterator[Service]:
    async with a_worker() as worker:
        yield a_service(worker.engine, spec=spec, backend=backend, **limits)


async def tokenized(
    service: Service, pairs: Sequence[tuple[str, str]], *, truncate: bool = False, field: str = "documents"
) -> TokenBatch:
    return await service.tokenization.pairs(pairs, truncate=truncate, field=field)


async def test_a_pair_becomes_one_array_of_ids() -> None:
    async with serving() as service:
        pairs = await tokenized(service, [("one", "two"), ("one", "three four")])
    assert [len(pair) for pair in pairs] == [5, 6]


async def test_a_pair_that_is_too_long_is_refused_with_both_numbers() -> None:
    async with serving() as service:
        with pytest.raises(InputTooLong, match=r"documents\[1\] has 24 tokens; the model's maximum is 16"):
            await tokenized(service, [("one", "two"), ("one", "two " * 20)])


async def test_a_long_pair_is_truncated_on_request() -> None:
    async with serving() as service:
        (pair,) = await tokenized(service, [("one", "two " * 20)], truncate=True)
    assert len(pair) == 16


async def test_no_pairs_are_refused_by_the_fields_name() -> None:
    async with serving() as service:
        with pytest.raises(BadRequest, match="text_2 is an empty list"):
            await tokenized(service, [], field="text_2")


async def test_too_many_pairs_are_refused_with_both_numbers() -> None:
    async with serving(max_inputs=2) as service:
        with pytest.raises(BadRequest, match=r"documents has 3 texts; the maximum is 2 \(--max_inputs\)"):
            await tokenized(service, [("one", "two")] * 3)


async def test_too_many_tokens_in_pairs_are_refused_with_both_numbers() -> None:
    async with serving(max_request_tokens=9) as service:
        with pytest.raises(BadRequest, match=r"texts has 10 tokens; the maximum is 9"):
            await tokenized(service, [("one", "two")] * 2, field="texts")


async def test_a_padding_token_in_either_text_is_rejected_with_vllm() -> None:
    (plain,) = TextTokenizer(SCORES).encode_pairs([("one", "two")])
    async with serving(replace(SCORES, padding=int(plain[3])), BackendName.VLLM) as service:
        with pytest.raises(BadRequest, match=r"documents\[0\] contains the padding token"):
            await tokenized(service, [("one", "two")])


async def test_each_kind_of_model_names_the_path_of_the_other_kind() -> None:
    async with serving() as service:
        with pytest.raises(BadRequest, match=r"the served model is a cross-encoder, .* /v1/rerank"):
            await service.tokenization.texts("one", Options.of(SCORES), field="input")
    async with serving(MINILM) as service:
        with pytest.raises(BadRequest, match=r"m is an embedding model, .* /v1/embeddings"):
            await tokenized(service, [("one", "two")])
