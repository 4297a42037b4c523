"""LangChain's OpenAI embeddings and Cohere reranker. (Its Hugging Face endpoint takes names of the hub only.)

By default OpenAIEmbeddings cuts texts with OpenAI's own tokenizer and sends token ids. tiktoken would download its
vocabulary; the one here is made of bytes, which is as foreign to the model as OpenAI's.
"""

import openai
import pytest
import tiktoken
from conftest import NAME
from langchain_cohere import CohereRerank
from langchain_core.documents import Document
from langchain_openai import OpenAIEmbeddings


def embeddings(url: str, **options: object) -> OpenAIEmbeddings:
    return OpenAIEmbeddings(model=NAME, base_url=f"{url}/openai/v1", api_key="none", max_retries=0, **options)


def test_texts_get_vectors_once_they_are_sent_as_texts(url: str) -> None:
    client = embeddings(url, check_embedding_ctx_length=False)
    rows = client.embed_documents(["a", "b", ""])
    assert [len(row) for row in rows] == [384] * 3
    assert client.embed_query("a") == rows[0]


def test_foreign_token_ids_are_rejected_with_a_remedy(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of_bytes = tiktoken.Encoding(
        "bytes", pat_str=r"[\s\S]", mergeable_ranks={bytes([n]): n for n in range(256)}, special_tokens={}
    )
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda _: of_bytes)
    with pytest.raises(openai.BadRequestError, match="check_embedding_ctx_length=False"):
        embeddings(url).embed_query("a text")


def test_the_cohere_reranker_keeps_the_best_documents_with_their_scores(rerank_url: str) -> None:
    reranker = CohereRerank(model=NAME, cohere_api_key="none", base_url=rerank_url, top_n=2)
    kept = reranker.compress_documents([Document(text) for text in ("cats", "stones", "dogs")], "what sleeps?")
    scores = [document.metadata["relevance_score"] for document in kept]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
