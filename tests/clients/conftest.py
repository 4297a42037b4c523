"""Fixtures with the URLs of the servers, which `tests/test_clients.py` starts."""

import os

import pytest

NAME = "sentence-transformer"
"""Of the model that the servers have."""


@pytest.fixture(scope="session")
def url() -> str:
    """A server with all-MiniLM-L6-v2's tokenizer and sizes, and fake vectors: equal ones for equal texts."""
    return os.environ["EMBEDDINGS_URL"]


@pytest.fixture(scope="session")
def rerank_url() -> str:
    """A server with a cross-encoder, and fake scores."""
    return os.environ["RERANK_URL"]
