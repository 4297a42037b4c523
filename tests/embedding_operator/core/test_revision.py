"""The revision of a service: a hash of what can move its vectors, and of nothing else."""

import pytest

from embedding_operator.core.resolve import resolve_service
from embedding_operator.core.revision import revision_and_template
from support.builders import SETTINGS, a_service, a_snapshot

BRANCH = {"storageUri": "hf://sentence-transformers/all-MiniLM-L6-v2"}


def revision(*args: str) -> str:
    service = a_service(model=BRANCH, args=list(args))
    return revision_and_template(resolve_service(a_snapshot(service), SETTINGS), SETTINGS)[0]


@pytest.mark.parametrize(
    "flag",
    [
        "--dtype=auto",
        "--quantize=none",
        "--workers=2",
        "--max_inputs=7",
        "--access_log",
        "--matryoshka=64,128",
        "--truncate=off",
    ],
)
def test_what_moves_no_vector_is_no_new_revision(flag: str) -> None:
    assert revision(flag) == revision()


@pytest.mark.parametrize("flag", ["--dtype=bfloat16", "--backend=huggingface", "--max_length=64", "--truncate=end"])
def test_what_may_move_vectors_is_a_new_revision(flag: str) -> None:
    assert revision(flag) != revision()


def test_a_service_that_names_no_backend_or_vllm_keeps_the_revision_that_it_had_when_vllm_was_the_default() -> None:
    assert {revision(), revision("--backend=vllm"), revision("--backend=auto")} == {"35a46982"}


def test_pods_of_a_service_that_names_no_backend_are_those_that_it_had() -> None:
    _, template = revision_and_template(resolve_service(a_snapshot(a_service(model=BRANCH)), SETTINGS), SETTINGS)
    assert template["metadata"]["annotations"] == {"serving.embeddings.dev/template": "dc5fa4f462bca86b"}
