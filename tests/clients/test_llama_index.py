"""LlamaIndex's embeddings: for servers like OpenAI's, and TEI's."""

from conftest import NAME
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference


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
