"""What cannot be obeyed is refused with one message that says what to change, and nothing is half-made."""

from typing import Any

import pytest
from kube import CommandFailed, Service, apply, get
from services import MINILM, a_service, with_token

NAME = "embedding-model"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"modle": {}}, 'unknown field "spec.modle"', id="unknown field"),
        pytest.param({"model": {"storageUrl": "x"}}, 'unknown field "spec.model.storageUrl"', id="unknown inner field"),
        pytest.param({"model": {"storageUri": "MiniLM"}}, "a model's address is scheme://...", id="no scheme"),
        pytest.param({"backend": "tei"}, '"vllm", "huggingface"', id="unknown backend"),
    ],
)
def test_the_api_server_rejects_schema_violations(namespace: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(CommandFailed) as refused:
        apply(a_service(namespace, **change))

    assert words in str(refused.value)
    assert get("embeddingservices", namespace)["items"] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"args": ("--pooling_mode=cls",)}, ["--pooling_mode"], id="unknown flag"),
        pytest.param({"args": ("--task=embed",)}, ["embed", "text_embedding", "huggingface"], id="wrong task"),
        pytest.param(
            {"args": ("--model_name=other",), "model": {"name": "one"}}, ["one", "other", "model"], id="two names"
        ),
        pytest.param({"args": ("--backend=vllm",)}, ["vllm", "huggingface", "backend"], id="two backends"),
        pytest.param({"model": {"storageUri": "hf://MiniLM"}}, ["hf://MiniLM", "owner/name"], id="bad URI"),
    ],
)
def test_the_operator_rejects_what_the_schema_cannot(namespace: str, change: dict[str, Any], words: list[str]) -> None:
    with_token(namespace)
    apply(a_service(namespace, **change))
    service = Service(NAME, namespace)

    message = service.says("InvalidSpec")

    assert [word for word in words if word not in message] == [], message
    assert service.says("InvalidSpec", "Accepted") == message
    assert service.has_made() == []


def test_all_problems_are_reported_at_once(namespace: str) -> None:
    wrong = a_service(namespace, args=("--pooling_mode=cls", "--task=embed"), model={"storageUri": "hf://MiniLM"})
    apply(wrong)

    message = Service(NAME, namespace).says("InvalidSpec")

    for part in ("--pooling_mode", "text_embedding", "owner/name", "hf-secret"):
        assert part in message


def test_a_missing_secret_is_waited_for(namespace: str) -> None:
    apply(a_service(namespace))
    service = Service(NAME, namespace)

    message = service.says("SecretNotFound")
    assert f"kubectl create secret generic hf-secret -n {namespace} --from-literal=HF_TOKEN=<value>" in message
    assert service.has_made() == []

    with_token(namespace)
    service.says("Downloaded", "ModelAvailable")


@pytest.mark.parametrize(
    ("uri", "token", "reason", "words"),
    [
        pytest.param(
            "hf://sentence-transformers/no-such-model",
            None,
            "ModelNotFound",
            ["sentence-transformers/no-such-model", "spec.model.storageUri"],
            id="no such model",
        ),
        pytest.param(f"{MINILM}:v9", None, "ModelNotFound", ["v9", "spec.model.storageUri"], id="no such revision"),
        pytest.param(MINILM, "hf_wrong", "ModelUnauthorized", ["HF_TOKEN", "hf-secret"], id="wrong token"),
    ],
)
def test_a_model_that_the_hub_denies_is_reported(
    namespace: str, uri: str, token: str | None, reason: str, words: list[str]
) -> None:
    with_token(namespace, *([token] if token else []))
    apply(a_service(namespace, model={"storageUri": uri}))
    service = Service(NAME, namespace)

    message = service.says(reason)

    assert [word for word in words if word not in message] == [], message
    assert service.says(reason, "ModelAvailable") == message
