"""Cohere's client, v1 and v2."""

import cohere
import numpy as np
import pytest
from conftest import NAME


def test_v2_embeds(url: str) -> None:
    client = cohere.ClientV2(api_key="none", base_url=url)
    answer = client.embed(
        model=NAME, texts=["a", "b"], input_type="search_document", embedding_types=["float", "ubinary"]
    )
    assert np.array(answer.embeddings.float_).shape == (2, 384)
    assert np.array(answer.embeddings.ubinary).shape == (2, 48)


def test_v2_embeds_in_eight_bits(url: str) -> None:
    client = cohere.ClientV2(api_key="none", base_url=url)
    kinds = ["float", "int8", "uint8"]
    found = client.embed(model=NAME, texts=["a"], input_type="search_document", embedding_types=kinds).embeddings
    assert np.abs(np.array(found.int8) / 127 - found.float_).max() < 1 / 127
    assert np.array_equal(np.array(found.int8) + 128, found.uint8)


def test_v1_embeds(url: str) -> None:
    client = cohere.Client(api_key="none", base_url=url)
    answer = client.embed(model=NAME, texts=[f"text {n}" for n in range(100)], input_type="search_query")
    assert np.array(answer.embeddings).shape == (100, 384)


def test_v2_reranks(rerank_url: str) -> None:
    client = cohere.ClientV2(api_key="none", base_url=rerank_url)
    answer = client.rerank(model=NAME, query="what sleeps?", documents=["cats", "stones", "dogs"], top_n=2)
    scores = [item.relevance_score for item in answer.results]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)


def test_v1_reranks(rerank_url: str) -> None:
    client = cohere.Client(api_key="none", base_url=rerank_url)
    answer = client.rerank(
        model=NAME, query="what sleeps?", documents=[{"text": "cats"}, {"text": "dogs"}], return_documents=True
    )
    assert {item.document.text for item in answer.results} == {"cats", "dogs"}


def test_errors_have_coheres_format(url: str) -> None:
    client = cohere.ClientV2(api_key="none", base_url=url)
    with pytest.raises(cohere.NotFoundError, match=NAME):
        client.embed(model="embed-v4.0", texts=["a"], input_type="search_query", embedding_types=["float"])
