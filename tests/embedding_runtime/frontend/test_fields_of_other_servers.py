"""Every field of other servers and their clients is supported, ignored because it is harmless, or rejected by name.

vLLM's are read from its own request models, OpenAI's and Cohere's from their clients' signatures: a release with a new
field fails here until a table has a row for it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from embedding_runtime.frontend.dialects.base import RequestBody
from embedding_runtime.frontend.dialects.cohere.schema import EmbedRequest as CohereV1
from embedding_runtime.frontend.dialects.cohere.schema import EmbedRequestV2 as CohereV2
from embedding_runtime.frontend.dialects.openai.schema import EmbeddingsRequest
from embedding_runtime.frontend.dialects.openinference.schema import InferRequest, PredictRequest
from embedding_runtime.frontend.dialects.rerank.schema import RerankRequest
from embedding_runtime.frontend.dialects.tei import schema as tei
from embedding_runtime.frontend.dialects.tei.ragged import EmbedAllRequest, EmbedSparseRequest
from embedding_runtime.frontend.dialects.vllm.pooling import PoolingRequest
from embedding_runtime.frontend.dialects.vllm.schema import ClassifyRequest, DetokenizeRequest, ScoreRequest

CLIENTS_PYTHON = Path(__file__).parents[2] / "clients" / ".venv" / "bin" / "python"

VLLM: Mapping[str, type[RequestBody] | None] = {
    "EmbeddingCompletionRequest": EmbeddingsRequest,
    "EmbeddingChatRequest": EmbeddingsRequest,
    "EmbeddingChatInputRequest": EmbeddingsRequest,
    "EmbeddingBatchChatRequest": EmbeddingsRequest,
    "EmbeddingBatchChatInputRequest": EmbeddingsRequest,
    "CohereEmbedRequest": CohereV2,
    "ScoreDataRequest": ScoreRequest,
    "ScoreQueriesDocumentsRequest": ScoreRequest,
    "ScoreQueriesItemsRequest": ScoreRequest,
    "ScoreTextRequest": ScoreRequest,
    "RerankRequest": RerankRequest,
    "ClassificationCompletionRequest": ClassifyRequest,
    "ClassificationChatRequest": ClassifyRequest,
    "PoolingCompletionRequest": PoolingRequest,
    "PoolingChatRequest": PoolingRequest,
    "IOProcessorRequest": None,
    "TokenizeCompletionRequest": tei.TokenizeRequest,
    "TokenizeChatRequest": tei.TokenizeRequest,
    "DetokenizeRequest": DetokenizeRequest,
}

PUBLISHED: Mapping[str, tuple[type[RequestBody], str]] = {
    # Their API references, and TEI's router/src/http/types.rs.
    "Jina's embeddings": (
        EmbeddingsRequest,
        "model input embedding_type task dimensions normalized late_chunking truncate return_multivector",
    ),
    "Jina's rerank": (
        RerankRequest,
        "model query documents top_n return_documents truncation max_doc_length max_query_length overlap_tokens",
    ),
    "Jina's rerank, its answer": (RerankRequest, "return_embeddings"),
    "Voyage's embeddings": (
        EmbeddingsRequest,
        "input model input_type truncation output_dimension output_dtype encoding_format",
    ),
    "Voyage's rerank": (RerankRequest, "query documents model top_k return_documents truncation"),
    "TEI's embed": (tei.EmbedRequest, "inputs truncate truncation_direction prompt_name normalize dimensions"),
    "TEI's embed_sparse": (EmbedSparseRequest, "inputs truncate truncation_direction prompt_name"),
    "TEI's embed_all": (EmbedAllRequest, "inputs truncate truncation_direction prompt_name"),
    "TEI's rerank": (
        tei.TeiRerankRequest,
        "query texts truncate truncation_direction raw_scores return_text",
    ),
    "TEI's predict": (tei.PredictRequest, "inputs truncate truncation_direction raw_scores"),
    "TEI's similarity": (tei.SimilarityRequest, "inputs parameters"),
    "TEI's tokenize": (tei.TokenizeRequest, "inputs add_special_tokens prompt_name"),
    "TEI's decode": (tei.DecodeRequest, "ids skip_special_tokens"),
    "KServe's predict": (PredictRequest, "instances signature_name inputs parameters"),
    "Open Inference's infer": (InferRequest, "id parameters inputs outputs model_name model_version"),
}

_READ_VLLM = """
import inspect, json
from pydantic import BaseModel
from vllm.entrypoints.pooling.classify import protocol as classify
from vllm.entrypoints.pooling.embed import protocol as embed
from vllm.entrypoints.pooling.pooling import protocol as pooling
from vllm.entrypoints.pooling.scoring import protocol as scoring
from vllm.entrypoints.serve.tokenize import protocol as tokenize
print("FIELDS", json.dumps({
    name: sorted(model.model_fields)
    for module in (classify, embed, pooling, scoring, tokenize)
    for name, model in vars(module).items()
    if inspect.isclass(model) and issubclass(model, BaseModel) and name.endswith("Request")
}))
"""

_READ_CLIENTS = """
import inspect, json, cohere, openai
NOT_SENT = {"self", "request_options", "extra_headers", "extra_query", "extra_body", "timeout", "batching", "kwargs"}
def fields(call):
    return sorted(set(inspect.signature(call).parameters) - NOT_SENT)
print("FIELDS", json.dumps({
    "openai's embeddings": fields(openai.resources.Embeddings.create),
    "cohere's embed, v1": fields(cohere.Client.embed),
    "cohere's embed, v2": fields(cohere.ClientV2.embed),
    "cohere's rerank, v1": fields(cohere.Client.rerank),
    "cohere's rerank, v2": fields(cohere.ClientV2.rerank),
}))
"""

CLIENTS: Mapping[str, type[RequestBody]] = {
    "openai's embeddings": EmbeddingsRequest,
    "cohere's embed, v1": CohereV1,
    "cohere's embed, v2": CohereV2,
    "cohere's rerank, v1": RerankRequest,
    "cohere's rerank, v2": RerankRequest,
}


def fields_by(python: Path | str, code: str) -> Mapping[str, list[str]]:
    """What a program prints after FIELDS. A process of its own: vLLM takes long to import, and the clients clash."""
    done = subprocess.run([python, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    line = next(line for line in done.stdout.splitlines() if line.startswith("FIELDS "))
    found: dict[str, list[str]] = json.loads(line.removeprefix("FIELDS "))
    return found


def without_a_row(model: type[RequestBody], fields: list[str]) -> list[str]:
    return sorted(set(fields) - model.model_fields.keys() - model.ignored - model.refused.keys())


def test_every_field_of_vllms_requests_has_a_row() -> None:
    found = fields_by(sys.executable, _READ_VLLM)
    assert sorted(found) == sorted(VLLM)
    missing = {name: without_a_row(model, found[name]) for name, model in VLLM.items() if model is not None}
    assert {name: fields for name, fields in missing.items() if fields} == {}


def test_every_field_that_the_clients_of_openai_and_cohere_send_has_a_row() -> None:
    assert CLIENTS_PYTHON.exists(), "the clients' environment does not exist: make tests/clients/.venv/synced"
    found = fields_by(CLIENTS_PYTHON, _READ_CLIENTS)
    missing = {name: without_a_row(model, found[name]) for name, model in CLIENTS.items()}
    assert {name: fields for name, fields in missing.items() if fields} == {}


@pytest.mark.parametrize("api", PUBLISHED)
def test_every_published_field_has_a_row(api: str) -> None:
    model, fields = PUBLISHED[api]
    assert without_a_row(model, fields.split()) == []


def subclasses(model: type[RequestBody]) -> set[type[RequestBody]]:
    return {model, *(each for child in model.__subclasses__() for each in subclasses(child))}


@pytest.mark.parametrize("model", sorted(subclasses(RequestBody), key=str), ids=str)
def test_no_field_is_both_ignored_and_refused(model: type[RequestBody]) -> None:
    assert model.ignored & model.refused.keys() == set()
