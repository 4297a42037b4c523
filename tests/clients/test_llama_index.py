"""LlamaIndex's embeddings, for servers like OpenAI's and TEI's; its rerankers, for Cohere's, Jina's and TEI's."""

import pytest
from conftest import NAME
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference as TeiRerank


def test_openai_like_embeddings(url: str) -> None:
    client = OpenAILikeEmbedding(model_name=NAME, api_base=f"{url}/openai/v1", api_key="none", embed_batch_size=10)
    rows = client.get_text_embedding_batch([f"text {n}" for n in range(25)])
    assert [len(row) for row in rows] == [384] * 25
    assert client.get_query_embedding("text 3") == rows[3]


def test_text_embeddings_inference(url: str) -> None:
    client = TextEmbeddingsInference(model_name=NAME, base_url=url)
    rows = client.get_text_embedding_batch(["a", "b"])
    assert [len(row) for row in rows] == [384] * 2
    assert client.get_query_embedding("a") == rows[0]


def rerankers(url: str) -> dict[str, BaseNodePostprocessor]:
    return {
        "Cohere": CohereRerank(model=NAME, api_key="none", base_url=url, top_n=2),
        "Jina": JinaRerank(model=NAME, api_key="none", base_url=f"{url}/v1", top_n=2),
        "TEI": TeiRerank(base_url=url, top_n=2),
    }


@pytest.mark.parametrize("api", ["Cohere", "Jina", "TEI"])
def test_a_reranker_keeps_the_best_nodes_with_their_scores(rerank_url: str, api: str) -> None:
    nodes = [NodeWithScore(node=TextNode(text=text), score=0.0) for text in ("cats", "stones", "dogs")]
    kept = rerankers(rerank_url)[api].postprocess_nodes(nodes, query_str="what sleeps?")
    scores = [node.score for node in kept]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
