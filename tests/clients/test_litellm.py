"""litellm as a library: as OpenAI's server, as vLLM's, as Cohere's."""

import litellm
import pytest
from conftest import NAME


@pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])
def test_embeddings(url: str, provider: str) -> None:
    answer = litellm.embedding(model=f"{provider}/{NAME}", input=["a", "b"], api_base=f"{url}/v1", api_key="none")
    assert [len(item["embedding"]) for item in answer.data] == [384, 384]
    assert answer.usage.prompt_tokens == 6


@pytest.mark.parametrize("provider", ["cohere", "hosted_vllm", "jina_ai"])
def test_rerank(rerank_url: str, provider: str) -> None:
    path = {"cohere": "/v2/rerank", "hosted_vllm": "/v1/rerank", "jina_ai": "/v1/rerank"}[provider]
    answer = litellm.rerank(
        model=f"{provider}/{NAME}",
        query="what sleeps?",
        documents=["cats", "stones", "dogs"],
        top_n=2,
        api_base=rerank_url + path,
        api_key="none",
    )
    scores = [item["relevance_score"] for item in answer.results]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
