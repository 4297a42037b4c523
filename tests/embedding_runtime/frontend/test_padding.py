"""Padding tokens within a text, for models in which they shift positions (the RoBERTa family)."""

from dataclasses import replace

import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.pipeline.options import Options
from support.played_worker import a_worker
from support.services import MINILM, a_service

PADDING = 7


async def tokenized(backend: BackendName, padding: int | None) -> int:
    spec = replace(MINILM, padding=padding)
    async with a_worker() as worker:
        service = a_service(worker.engine, spec=spec, backend=backend)
        texts = await service.tokenization.texts([[101, 6, 102], [101, PADDING, 102]], Options.of(spec), field="input")
    return len(texts)


async def test_vllm_rejects_padding_tokens() -> None:
    with pytest.raises(BadRequest, match=r"input\[1\] contains the padding token.*--backend=huggingface"):
        await tokenized(BackendName.VLLM, PADDING)


@pytest.mark.parametrize(("backend", "padding"), [(BackendName.HUGGINGFACE, PADDING), (BackendName.VLLM, None)])
async def test_with_other_backends_it_is_an_ordinary_token(backend: BackendName, padding: int | None) -> None:
    assert await tokenized(backend, padding) == 2
