"""The guide, step by step, on both backends: the same commands, our manifests, the guide's own answer.

KServe's image of the guide's storage container is on a registry out of reach here; ours stands in under its name
(e2e/cluster/images.sh). `kubectl port-forward` stands for the guide's ingress.
"""

import json

import pytest
from kube import TOKEN, Service, forwarded, get, requests_to_hub, sh

pytestmark = pytest.mark.timeout(600)

SENTENCE = "This is an example sentence for embedding generation."
FIRST = [0.007899402640759945, 0.008340050466358662, 0.035796716809272766]
LAST = [0.09077603369951248, 0.03257409855723381, -0.02999882400035858]


@pytest.mark.parametrize(
    ("manifest", "backend"), [("embedding-hf.yaml", "huggingface"), ("embedding-vllm.yaml", "vllm")]
)
def test_the_guide_leads_to_its_vector(manifest: str, backend: str) -> None:
    asked_before = len(requests_to_hub())
    try:
        sh(f"kubectl create secret generic hf-secret --from-literal=HF_TOKEN={TOKEN}")
        sh("kubectl apply -f examples/huggingface-storage.yaml")
        sh(f"kubectl apply -f examples/{manifest}")
        Service("embedding-model").is_ready()

        header, row = sh("kubectl get embeddingservices embedding-model").splitlines()
        shown = dict(zip(header.split(), row.split(), strict=True))
        assert shown["READY"] == "True"
        assert shown["BACKEND"] == backend
        assert shown["MODEL"] == "sentence-transformer"

        url = sh("kubectl get embeddingservice embedding-model -o jsonpath={.status.url}")
        host = url.split("/")[2]
        assert host == "embedding-model.default.svc.cluster.local"
        with forwarded("service/embedding-model", 80) as address:
            answer = sh(
                f'curl --silent --show-error --fail-with-body -H "Content-Type: application/json" '
                f'-H "Host: {host}" {address}/openai/v1/embeddings --data @-',
                stdin=json.dumps({"model": "sentence-transformer", "input": SENTENCE}),
            )
        _is_the_guides(json.loads(answer))

        asked = requests_to_hub()[asked_before:]
        assert {request["authorization"] for request in asked} == {"right"}
        assert any(request["path"].endswith("model.safetensors") for request in asked)
        _token_is_the_initializers_alone()
        fetched_by = get("embeddingservice embedding-model")["status"]["storageContainer"]
        assert (fetched_by["kind"], fetched_by["name"]) == ("ClusterStorageContainer", "hf-hub")
    finally:
        sh(f"kubectl delete --ignore-not-found -f examples/{manifest} -f examples/huggingface-storage.yaml")
        sh("kubectl delete --ignore-not-found secret hf-secret")
        sh(f"kubectl wait --for=delete pods -l {Service('embedding-model').pods} --timeout=60s")


def _is_the_guides(answer: dict[str, object]) -> None:
    data = answer["data"]
    assert isinstance(data, list)
    vector = data[0]["embedding"]
    assert len(vector) == 384
    assert vector[:3] == pytest.approx(FIRST, abs=1e-5)
    assert vector[-3:] == pytest.approx(LAST, abs=1e-5)
    assert str(answer["id"]).startswith("embd-")
    assert answer["object"] == "list"
    assert answer["model"] == "sentence-transformer"
    assert answer["usage"] == {
        "prompt_tokens": 13,
        "total_tokens": 13,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }


def _token_is_the_initializers_alone() -> None:
    [pod] = get(f"pods -l {Service('embedding-model').pods}")["items"]
    [initializer], [server] = pod["spec"]["initContainers"], pod["spec"]["containers"]
    assert {"name": "hf-secret", "key": "HF_TOKEN"} in [
        variable["valueFrom"]["secretKeyRef"] for variable in initializer["env"] if "valueFrom" in variable
    ]
    assert "HF_TOKEN" not in json.dumps(server)
    assert "secret" not in json.dumps(pod["spec"]["volumes"]).lower()
    assert TOKEN not in json.dumps(pod)
