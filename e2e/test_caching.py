"""Models arrive once: a cache that services share, commits that stay, and progress that can be watched."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from hub import OTHER_FILES, main_at, slow, weights_downloads
from kube import Service, apply, get, requests_to_hub, sh
from namespaces import a_namespace
from services import MINILM, a_service, with_token
from vectors import vector_of
from volumes import a_claim, listed, unused_for_an_hour
from waiting import eventually

OTHER = "hf://example/all-MiniLM-L6-v2-cls"
SMALL = {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "50m", "memory": "256Mi"}}
WEIGHTS_BYTES = 90_868_376
"""Of MiniLM's model.safetensors."""


@pytest.fixture
def claim(namespace: str) -> Iterator[str]:
    with_token(namespace)
    with a_claim(namespace) as name:
        yield name


def test_two_services_of_three_pods_each_download_a_model_once(namespace: str, claim: str) -> None:
    before = len(requests_to_hub())
    services = [_applied(namespace, name, claim, replicas=3) for name in ("first", "second")]
    for service in services:
        service.is_ready()

    assert _bytes(weights_downloads(before)) == WEIGHTS_BYTES
    for pod in [pod for service in services for pod in _pods(service)]:
        assert "initContainers" not in pod["spec"]
        assert "secret" not in str(pod["spec"]["volumes"]).lower()
    assert len({vector_of(service) for service in services}) == 1
    assert len(listed(namespace, "models")) == 1


def test_pods_added_after_the_branch_moved_have_the_old_commit_and_ask_the_hub_nothing(
    namespace: str, claim: str
) -> None:
    service = _applied(namespace, "embedding-model", claim, replicas=1)
    service.is_ready()
    commit, vector = _commit(service), vector_of(service)
    with main_at(OTHER_FILES):
        before = len(requests_to_hub())
        sh(f"kubectl scale embeddingservice {service.name} --replicas=3 -n {namespace}")
        eventually("three pods", lambda: len(_pods(service)) == 3)
        service.is_ready()
        assert requests_to_hub()[before:] == []
        assert (_commit(service), vector_of(service)) == (commit, vector)

        later = _applied(namespace, "later", claim, replicas=1)
        later.is_ready()
        assert _commit(later) != commit
        assert vector_of(later) != vector
    assert len(listed(namespace, "models")) == 2


def test_without_a_cache_pods_added_after_the_branch_moved_download_the_old_commit(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace, resources=SMALL))
    service = Service("embedding-model", namespace)
    service.is_ready()
    commit = _commit(service)
    with main_at(OTHER_FILES):
        before = len(requests_to_hub())
        sh(f"kubectl scale embeddingservice {service.name} --replicas=2 -n {namespace}")
        eventually("two pods", lambda: len(_pods(service)) == 2)
        service.is_ready()
        assert {path.split("/")[4] for path, _ in weights_downloads(before)} == {commit}
        assert _commit(service) == commit


def test_a_followed_branch_that_moves_is_a_new_revision(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace, resources=SMALL, model={"updatePolicy": "Follow", "updateIntervalSeconds": 60}))
    service = Service("embedding-model", namespace)
    service.is_ready()
    commit, vector = _commit(service), vector_of(service)
    with main_at(OTHER_FILES):
        eventually("the new commit", lambda: _commit(service) != commit, within=300)
        service.is_ready()
        assert vector_of(service) != vector


def test_a_killed_writer_is_succeeded_by_another_which_continues(namespace: str, claim: str) -> None:
    before = len(requests_to_hub())
    with slow(400_000):
        first = _applied(namespace, "first", claim, replicas=1)
        eventually("a third is there", lambda: _percent(first) >= 33)
        second = _applied(namespace, "second", claim, replicas=1)
        [writer] = eventually("the first one's pod", lambda: _job_pods(first))
        eventually("the second one waits", lambda: _job_pods(second))
        sh(f"kubectl delete pod {writer} -n {namespace} --grace-period=0 --force")
        eventually("more is there, or all of it", lambda: _percent(second) >= 40 or _is_downloaded(second))
    first.is_ready()
    second.is_ready()

    assert _bytes(weights_downloads(before)) < 1.9 * WEIGHTS_BYTES, "what was there was not downloaded again"
    assert vector_of(first) == vector_of(second)


def test_kubectl_get_watch_shows_the_percentages_of_a_download(namespace: str) -> None:
    with_token(namespace)
    command = f"kubectl get embeddingservice -n {namespace} --watch"
    with slow(400_000), subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, text=True) as watch:
        apply(a_service(namespace, resources=SMALL))
        service = Service("embedding-model", namespace)
        assert "MB/s" in eventually("nearly all of it is there", lambda: _progress(service, least=60))
        watch.terminate()
        shown = watch.communicate()[0]
    percentages = [int(number) for number in re.findall(r" Downloading .* (\d+)$", shown, re.MULTILINE)]
    assert len(set(percentages)) >= 3, shown
    assert percentages == sorted(percentages)
    service.is_ready()
    assert "download" not in get(f"embeddingservice {service.name}", namespace)["status"]["model"]


def test_a_full_model_cache_evicts_what_nobody_serves_and_nothing_else(namespace: str, claim: str) -> None:
    apply(_a_model_cache(namespace, claim, MINILM))
    cache = f"modelcache/models -n {namespace}"
    sh(f"kubectl wait {cache} --for=condition=Ready --timeout=300s")
    before = len(requests_to_hub())
    apply(a_service(namespace, resources=SMALL))
    service = Service("embedding-model", namespace)
    service.is_ready()
    vector = vector_of(service)
    assert weights_downloads(before) == [], "the cache had the model"

    unused_for_an_hour(namespace)
    apply(_a_model_cache(namespace, claim, MINILM, OTHER))
    sh(f"kubectl wait {cache} --for=jsonpath='{{.status.models[1].reason}}'=InsufficientStorage --timeout=300s")
    sh(f"kubectl wait {cache} --for=condition=Stalled --timeout=300s")
    assert vector_of(service) == vector
    assert service.has_made("deployments") == [f"deployment.apps/{service.name}-{_serving(service)}"]
    held = listed(namespace, "models")
    assert len(held) == 1

    sh(f"kubectl delete embeddingservice {service.name} -n {namespace}")
    sh(f"kubectl wait --for=delete pods -l {service.pods} -n {namespace} --timeout=300s")
    unused_for_an_hour(namespace)
    apply(_a_model_cache(namespace, claim, OTHER))
    sh(f"kubectl wait {cache} --for=condition=Ready --timeout=300s")
    assert len(listed(namespace, "models")) == 1
    assert listed(namespace, "models") != held


def test_a_cluster_model_cache_downloads_a_model_once_for_services_of_two_namespaces(
    namespace: str, claim: str, cluster_cache: str
) -> None:
    before = len(requests_to_hub())
    with a_namespace() as one, a_namespace() as two, a_namespace() as outside:
        apply(_a_cluster_model_cache(cluster_cache, namespace, claim, [one, two]))
        sh(f"kubectl wait clustermodelcache/{cluster_cache} --for=condition=Ready --timeout=300s")
        assert _bytes(weights_downloads(before)) == WEIGHTS_BYTES
        held = listed(namespace, "models")

        with a_claim(one, leads_to=namespace), a_claim(two, leads_to=namespace):
            services = [_without_a_token(each) for each in (one, two)]
            for service in services:
                service.is_ready()
            assert _bytes(weights_downloads(before)) == WEIGHTS_BYTES
            for service in services:
                [pod] = _pods(service)
                assert "initContainers" not in pod["spec"]
                assert _mounts_of_claims(pod) == [{"subPath": f"models/{held[0]}", "readOnly": True}]
                assert get("jobs", service.namespace)["items"] == [], "nothing there writes"
            assert listed(namespace, "models") == held

            with_token(outside)
            apply(a_service(outside, resources=SMALL))
            stranger = Service("embedding-model", outside)
            stranger.is_ready()
            assert _bytes(weights_downloads(before)) == 2 * WEIGHTS_BYTES, "it is not allowed: it downloads by itself"
            assert len({vector_of(service) for service in (*services, stranger)}) == 1


def test_a_service_without_the_claim_of_a_cluster_model_cache_downloads_by_itself_and_says_why(
    namespace: str, claim: str, cluster_cache: str
) -> None:
    with a_namespace() as tenant:
        apply(_a_cluster_model_cache(cluster_cache, namespace, claim, ["*"]))
        sh(f"kubectl wait clustermodelcache/{cluster_cache} --for=condition=Ready --timeout=300s")
        with_token(tenant)
        apply(a_service(tenant, resources=SMALL))
        service = Service("embedding-model", tenant)
        service.is_ready()
        trouble = f"PersistentVolumeClaim {claim} of namespace {tenant} does not exist: each pod downloads it."
        assert trouble in service.says("Accepted", "Accepted")


@pytest.fixture
def cluster_cache(namespace: str) -> Iterator[str]:
    """The name of a ClusterModelCache, which is deleted in the end."""
    yield namespace
    sh(f"kubectl delete clustermodelcache {namespace}")


def _a_cluster_model_cache(name: str, namespace: str, claim: str, allowed: list[str]) -> dict[str, Any]:
    models = [{"storageUri": MINILM, "tokenSecretRef": {"name": "hf-secret"}}]
    return {
        "apiVersion": "serving.embeddings.dev/v1alpha1",
        "kind": "ClusterModelCache",
        "metadata": {"name": name},
        "spec": {
            "namespace": namespace,
            "volume": {"claimName": claim},
            "allowedNamespaces": allowed,
            "models": models,
        },
    }


def _without_a_token(namespace: str) -> Service:
    manifest = a_service(namespace, resources=SMALL)
    del manifest["spec"]["model"]["tokenSecretRef"]
    apply(manifest)
    return Service(manifest["metadata"]["name"], namespace)


def _mounts_of_claims(pod: dict[str, Any]) -> list[dict[str, Any]]:
    claims = {each["name"] for each in pod["spec"]["volumes"] if "persistentVolumeClaim" in each}
    mounts = (each for container in pod["spec"]["containers"] for each in container["volumeMounts"])
    return [{key: each.get(key) for key in ("subPath", "readOnly")} for each in mounts if each["name"] in claims]


def _a_model_cache(namespace: str, claim: str, *uris: str) -> dict[str, Any]:
    """With room for one of the two models of the hub."""
    models = [{"storageUri": uri, "tokenSecretRef": {"name": "hf-secret"}} for uri in uris]
    return {
        "apiVersion": "serving.embeddings.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": {"name": "models", "namespace": namespace},
        "spec": {"persistentVolumeClaim": claim, "capacity": "140Mi", "models": models},
    }


def _serving(service: Service) -> str:
    return str(get(f"embeddingservice {service.name}", service.namespace)["status"]["revision"]["serving"])


def _applied(namespace: str, name: str, claim: str, replicas: int) -> Service:
    manifest = a_service(
        namespace, model={"cache": {"persistentVolumeClaim": claim}}, resources=SMALL, replicas=replicas
    )
    manifest["metadata"]["name"] = name
    apply(manifest)
    return Service(name, namespace)


def _pods(service: Service) -> list[dict[str, Any]]:
    """The pods that serve, or will."""
    selector = f"{service.pods},serving.embeddings.dev/revision"
    return [
        each
        for each in get(f"pods -l {selector}", service.namespace)["items"]
        if "deletionTimestamp" not in each["metadata"]
    ]


def _job_pods(service: Service) -> list[str]:
    """The pods that download for it and run."""
    owned = get("pods", service.namespace)["items"]
    return [
        each["metadata"]["name"]
        for each in owned
        if each["metadata"]["name"].startswith(f"{service.name}-model-") and each["status"]["phase"] == "Running"
    ]


def _commit(service: Service) -> str:
    return str(get(f"embeddingservice {service.name}", service.namespace)["status"]["model"]["revision"])


def _progress(service: Service, *, least: int) -> str:
    """What the status says of a download of which so many percent are there; empty: it has fewer."""
    status = _status(service)
    return _of_the_model(status)["message"] if _percent_of(status) >= least else ""


def _is_downloaded(service: Service) -> bool:
    return _of_the_model(_status(service)).get("reason") == "Downloaded"


def _percent(service: Service) -> int:
    return _percent_of(_status(service))


def _percent_of(status: dict[str, Any]) -> int:
    return int(status.get("model", {}).get("download", {}).get("percent", 0))


def _of_the_model(status: dict[str, Any]) -> dict[str, str]:
    conditions: list[dict[str, str]] = status.get("conditions", [])
    return next((each for each in conditions if each["type"] == "ModelAvailable"), {})


def _status(service: Service) -> dict[str, Any]:
    found: dict[str, Any] = get(f"embeddingservice {service.name}", service.namespace).get("status", {})
    return found


def _bytes(downloads: list[tuple[str, str | None]]) -> int:
    """Bytes that were requested."""
    total = 0
    for _, requested in downloads:
        assert requested, "files come by range"
        first, _, last = requested.removeprefix("bytes=").partition("-")
        total += int(last) - int(first) + 1 if last else WEIGHTS_BYTES - int(first)
    return total
