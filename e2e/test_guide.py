"""The guide, step by step, on both backends: the same commands, our manifests, the guide's own answer.

KServe's image of the guide's storage container is on a registry out of reach here; ours stands in under its name
(e2e/cluster/images.sh). `kubectl port-forward` stands for the guide's ingress.
"""

import json
from typing import Any

import pytest
from kube import TOKEN, Service, apply, forwarded, get, requests_to_hub, sh
from services import a_service
from waiting import eventually

pytestmark = pytest.mark.timeout(1200)

SENTENCE = "This is an example sentence for embedding generation."
FIRST = [0.007899402640759945, 0.008340050466358662, 0.035796716809272766]
LAST = [0.09077603369951248, 0.03257409855723381, -0.02999882400035858]


@pytest.mark.parametrize(
    ("manifest", "backend", "storage"),
    [
        ("embedding-hf.yaml", "huggingface", "e2e/guide/storage.yaml"),
        ("embedding-vllm.yaml", "vllm", "examples/huggingface-storage.yaml"),
    ],
)
def test_the_guide_returns_its_vector(manifest: str, backend: str, storage: str) -> None:
    asked_before = len(requests_to_hub())
    try:
        sh(f"kubectl create secret generic hf-secret --from-literal=HF_TOKEN={TOKEN}")
        sh(f"kubectl apply -f {storage}")
        sh("kubectl wait --for=condition=Accepted clusterstoragecontainer/hf-hub --timeout=300s")
        sh(f"kubectl apply -f examples/{manifest}")
        Service("embedding-model").is_ready()

        eventually("the backend is shown", lambda: _shown()["BACKEND"] == backend)
        shown = _shown()
        assert shown["READY"] == "True"
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
        sh(f"kubectl delete --ignore-not-found -f examples/{manifest} -f {storage}")
        sh("kubectl delete --ignore-not-found secret hf-secret")
        sh(f"kubectl wait --for=delete pods -l {Service('embedding-model').pods} --timeout=300s")


def _shown() -> dict[str, str]:
    """What `kubectl get` shows, by column. The last one, DOWNLOAD%, is empty once the model is there."""
    header, row = sh("kubectl get embeddingservices embedding-model").splitlines()
    return dict(zip(header.split(), row.split(), strict=False))


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
    [pod] = get(f"pods -l {Service('embedding-model').servers}")["items"]
    [initializer], [server] = pod["spec"]["initContainers"], pod["spec"]["containers"]
    sources = [variable["valueFrom"]["secretKeyRef"] for variable in initializer["env"] if "valueFrom" in variable]
    assert [(source["name"], source["key"]) for source in sources] == [("hf-secret", "HF_TOKEN")]
    assert "HF_TOKEN" not in json.dumps(server)
    assert "secret" not in json.dumps(pod["spec"]["volumes"]).lower()
    assert TOKEN not in json.dumps(pod)


def test_the_guides_storage_container_works_unchanged(namespace: str) -> None:
    """It names no URI formats. Services from claims are none of its business, and namespaces may lack its Secret."""
    from_a_claim = _applied(_of_no_pods(namespace, "from-a-claim", "pvc://models/minilm"))
    before = get(f"deployments -l {from_a_claim.pods}", namespace)["items"]
    try:
        sh("kubectl apply -f e2e/guide/storage.yaml")
        sh("kubectl wait --for=condition=Accepted clusterstoragecontainer/hf-hub --timeout=300s")
        from_the_hub = _applied(_of_no_pods(namespace, "from-the-hub", f"hf://example/public:{'0' * 40}"))

        assert "hf-secret" in from_the_hub.says("Accepted", "Accepted")
        assert _fetched_by(from_the_hub) == "hf-hub"
        assert _fetched_by(from_a_claim) is None
        after = get(f"deployments -l {from_a_claim.pods}", namespace)["items"]
        assert [each["metadata"]["generation"] for each in after] == [each["metadata"]["generation"] for each in before]
    finally:
        sh("kubectl delete -f e2e/guide/storage.yaml")


def _applied(manifest: dict[str, Any]) -> Service:
    apply(manifest)
    service = Service(manifest["metadata"]["name"], manifest["metadata"]["namespace"])
    service.is_ready()
    return service


def _of_no_pods(namespace: str, name: str, uri: str) -> dict[str, Any]:
    service = a_service(namespace, replicas=0)
    service["metadata"]["name"] = name
    service["spec"]["model"] = {"storageUri": uri}
    return service


def _fetched_by(service: Service) -> str | None:
    status = get(f"embeddingservice {service.name}", service.namespace)["status"]
    name: str | None = status["storageContainer"].get("name")
    return name
