"""One ClusterModelCache against an API server, with services of two namespaces."""

from datetime import timedelta
from typing import Any

from embedding_operator.constants import API_VERSION, MANAGED_BY, MANAGED_LABEL
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.objects import ObjectRef
from embedding_operator.kinds import CLUSTER_MODEL_CACHE
from embedding_runtime.contract import DownloadedModel
from support.builders import ended
from support.caches import a_cluster_cache
from support.controlled import Controlled, controlled

URI = "hf://a/b"
Raw = dict[str, Any]


def create_cache(it: Controlled, *uris: str, **fields: Any) -> Raw:
    it.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "platform"}})
    cache = a_cluster_cache(*(uris or (URI,)), **fields)
    return it.api.create({**cache, "metadata": {"name": "shared"}})


def create_claim(it: Controlled, mode: str = "ReadWriteMany") -> None:
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": "1Gi"}}}
    metadata = {"name": "models", "namespace": "default"}
    claim = it.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
    it.api.replace({**claim, "status": {"phase": "Bound"}}, subresource="status")


def end_job(it: Controlled) -> None:
    """As the kubelet and the Job controller do."""
    (job,) = it.api.list("jobs")
    template = job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
    owner |= {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    metadata = {"name": f"{owner['name']}-x", "namespace": "platform", "labels": template["metadata"]["labels"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {**metadata, "ownerReferences": [owner]}}
    created = it.api.create({**pod, "spec": template["spec"]})
    report = str(DownloadedModel(weights_bytes=5, path="a-b-1", revision="c0ffee"))
    status = {"phase": "Succeeded", "containerStatuses": [{"name": "storage-initializer", **ended(0, report)}]}
    it.api.replace({**created, "status": status}, subresource="status")
    complete = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    it.api.replace({**job, "status": {"conditions": [complete]}}, subresource="status")


async def fill(it: Controlled) -> None:
    await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
    end_job(it)
    await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)


async def serve_from_cache(it: Controlled) -> None:
    """With a cache that is filled, a service of another namespace, which mounts the model."""
    create_cache(it)
    await fill(it)
    create_claim(it)
    it.create_service("s", model={"storageUri": URI})
    await it.reconcile("s")


def the_cache(it: Controlled) -> Raw:
    return it.api.get("clustermodelcaches", "shared") or {}


async def test_a_model_is_downloaded_in_the_namespace_of_the_cache_and_then_nothing_is_written() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert it.written == [("create", "jobs"), ("update", "clustermodelcaches/status")]
        end_job(it)
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert the_cache(it)["status"]["ready"] == "1/1"
        (event,) = it.api.list("events")
        assert (event["reason"], event["metadata"]["namespace"]) == ("Downloaded", "default")
        it.api.requests.clear()
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert it.written == []


async def test_a_service_mounts_the_model_through_the_claim_of_its_namespace_and_starts_no_job() -> None:
    async with controlled() as it:
        await serve_from_cache(it)
        (deployment,) = it.api.list("deployments")
        assert list(mounted(deployment)) == [("models", "a-b-1")]
        assert [each["metadata"]["namespace"] for each in it.api.list("jobs")] == ["platform"]


async def test_a_service_without_the_claim_in_its_namespace_downloads_by_itself() -> None:
    async with controlled() as it:
        create_cache(it)
        await fill(it)
        it.create_service("s", model={"storageUri": URI})
        await it.reconcile("s")
        assert "default" in {each["metadata"]["namespace"] for each in it.api.list("jobs")}
        assert "PersistentVolumeClaim models of namespace default does not exist" in it.condition("Accepted")[2]


async def test_a_service_that_mounts_the_model_asks_for_its_claim_no_more() -> None:
    async with controlled() as it:
        await serve_from_cache(it)
        it.api.requests.clear()
        await it.reconcile("s")
        assert "get" not in [each.verb for each in it.api.requests]


async def test_what_services_of_other_namespaces_mount_is_kept_when_the_spec_has_it_no_longer() -> None:
    async with controlled() as it:
        await serve_from_cache(it)
        for models in ([], [{"storageUri": "hf://a/c"}]):
            cache = the_cache(it)
            it.api.replace({**cache, "spec": {**cache["spec"], "models": models}})
            await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
            it.now += timedelta(minutes=10)
        args = [each["spec"]["template"]["spec"]["containers"][0]["args"] for each in it.api.list("jobs")]
        assert ["hf://a/c", "--keep=a-b-1"] in [[each[1], each[3]] for each in args]


async def test_a_change_of_what_is_allowed_and_a_deletion_concern_the_services_of_all_namespaces() -> None:
    async with controlled() as it:
        create_cache(it)
        await fill(it)
        it.create_service("s")
        service = {ObjectRef(API_VERSION, "EmbeddingService", "default", "s")}
        cache = the_cache(it)
        it.api.replace({**cache, "spec": {**cache["spec"], "allowedNamespaces": ["platform"]}})
        it.added.clear()
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert {key for key, _ in it.added} == service
        it.added.clear()
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert it.added == []
        it.api.delete("clustermodelcaches", "shared")
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert {key for key, _ in it.added} == service
        assert it.api.list("jobs") == [], "what it owns goes with it"


async def test_an_operator_that_does_not_watch_its_namespace_leaves_it_to_another_one_without_a_word() -> None:
    async with controlled(lease_name="mine", namespaces=("default",)) as it:
        cache = create_cache(it)
        status = {"manager": "default/other", "models": [], "conditions": []}
        it.api.replace({**cache, "status": status}, subresource="status")
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert (it.events, it.written) == ([], [])


async def test_the_secrets_of_its_models_are_those_of_its_namespace() -> None:
    async with controlled() as it:
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "platform"}}
        create_cache(it, {"storageUri": URI, "tokenSecretRef": {"name": "token"}})  # type: ignore[arg-type]
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        assert the_cache(it)["status"]["models"][0]["reason"] == "SecretNotFound"
        it.api.create({**secret, "data": {"HF_TOKEN": ""}})
        cache = the_cache(it)
        it.api.replace({**cache, "spec": {**cache["spec"], "parallelism": 1}})
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        (job,) = it.api.list("jobs")
        assert "'secretName': 'token'" in str(job)


async def test_what_is_mounted_in_a_namespace_that_is_not_allowed_is_not_kept() -> None:
    async with controlled() as it:
        create_cache(it, allowed=("platform",))
        mount = {"name": "model", "mountPath": "/mnt/models", "subPath": "models/x-1"}
        volume = {"name": "model", "persistentVolumeClaim": {"claimName": "models"}}
        labels = {"app": "x"}
        pod = {"volumes": [volume], "containers": [{"name": "x", "image": "x", "volumeMounts": [mount]}]}
        metadata = {"name": "x", "namespace": "default", "labels": {MANAGED_LABEL: MANAGED_BY}}
        template = {"metadata": {"labels": labels}, "spec": pod}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        it.api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
        await it.reconcile_cache("shared", CLUSTER_MODEL_CACHE)
        (job,) = it.api.list("jobs")
        assert "--keep" not in str(job)
