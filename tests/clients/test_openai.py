"""The openai client of the release before the project's own, and its async one."""

import asyncio

import openai
import pytest
from conftest import NAME


def test_texts_get_vectors(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/openai/v1", api_key="none") as client:
        answer = client.embeddings.create(model=NAME, input=["a", "b"])
        assert [len(item.embedding) for item in answer.data] == [384, 384]
        assert client.models.retrieve(NAME).id == NAME


def test_extensions_go_in_the_extra_body(url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
        answer = client.embeddings.create(model=NAME, input="one " * 300, extra_body={"truncate": "END"})
        assert answer.usage.prompt_tokens == 256
        with pytest.raises(openai.BadRequestError, match="prompt_name: this model has no such prompt"):
            client.embeddings.create(model=NAME, input="a", extra_body={"prompt_name": "query"})


def test_many_requests_at_once_get_their_own_vectors(url: str) -> None:
    async def ask() -> None:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none") as client:
            asked = [client.embeddings.create(model=NAME, input=f"text {n}") for n in range(32)]
            answers = await asyncio.gather(*asked)
            assert len({tuple(answer.data[0].embedding) for answer in answers}) == 32

    asyncio.run(ask())
