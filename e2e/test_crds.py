"""The API server takes the CRDs, explains them, and scales a service."""

import json

import pytest
from kube import CommandFailed, Service, apply, get, sh
from services import a_service, with_token

KINDS = ["embeddingservices", "storagecontainers", "clusterstoragecontainers", "modelcaches", "clustermodelcaches"]


def test_the_generated_crds_apply_to_a_real_api_server() -> None:
    applied = sh("kubectl apply --dry-run=server --server-side --force-conflicts -f crds -o name").split()
    assert len(applied) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_crd_is_established_without_violations(kind: str) -> None:
    conditions = get(f"crd {kind}.serving.embeddings.dev")["status"]["conditions"]
    said = {each["type"]: each["status"] for each in conditions}
    assert said == {"NamesAccepted": "True", "Established": "True"}


@pytest.mark.parametrize("path", ["embeddingservice.spec.model.storageUri", "clusterstoragecontainer.spec.container"])
def test_kubectl_explains_every_field_it_shows(path: str) -> None:
    told = sh(f"kubectl explain {path}")
    assert "<no description>" not in told
    assert "<empty>" not in told


@pytest.mark.parametrize("name", ["emb", "embsvc", "embeddings"])
def test_short_names_and_the_category_list_services(name: str, namespace: str) -> None:
    apply(a_service(namespace, replicas=0))
    [listed] = get(name, namespace)["items"]
    assert listed["kind"] == "EmbeddingService"


def test_the_namespace_of_a_cluster_model_cache_cannot_change(namespace: str) -> None:
    cache = {"apiVersion": "serving.embeddings.dev/v1alpha1", "kind": "ClusterModelCache"}
    spec = {"namespace": namespace, "volume": {"claimName": "models"}, "allowedNamespaces": ["*"]}
    apply({**cache, "metadata": {"name": namespace}, "spec": spec})
    try:
        with pytest.raises(CommandFailed, match="it cannot change: create another ClusterModelCache"):
            apply({**cache, "metadata": {"name": namespace}, "spec": {**spec, "namespace": "another"}})
    finally:
        sh(f"kubectl delete clustermodelcache {namespace}")


def test_kubectl_scales_a_service(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace, replicas=0))
    service = Service("embedding-model", namespace)
    service.says("ScaledToZero")

    sh(f"kubectl scale embeddingservice {service.name} -n {namespace} --replicas=2")

    sh(f"kubectl wait --for=jsonpath={{.spec.replicas}}=2 deployments -l {service.pods} -n {namespace} --timeout=180s")
    scale = json.loads(sh(f"kubectl get embeddingservice {service.name} -n {namespace} --subresource=scale -o json"))
    assert scale["spec"]["replicas"] == 2
    assert service.pods in scale["status"]["selector"]
