"""Jobs that resolve or cache a model, against the fake API server: their arguments, and the use of their reports."""

import json
from datetime import timedelta
from typing import Any

import pytest

from support.builders import COMMIT, a_pod_of, ended, running
from support.controlled import Controlled, controlled

CACHE = {"persistentVolumeClaim": "models"}
BRANCH = {"storageUri": "hf://a/b"}
APPS = {"apiVersion": "apps/v1", "kind": "Deployment"}


def job_of(cluster: Controlled, service: str) -> dict[str, Any]:
    label = "serving.embeddings.dev/service"
    (job,) = [each for each in cluster.api.list("jobs") if each["metadata"]["labels"][label] == service]
    return job


def command(cluster: Controlled, service: str) -> list[str]:
    (container,) = job_of(cluster, service)["spec"]["template"]["spec"]["containers"]
    args: list[str] = container["args"]
    return args


def report(cluster: Controlled, service: str, path: str | None = None) -> None:
    """The Job's pod has succeeded."""
    job = job_of(cluster, service)
    template, name = job["spec"]["template"], job["metadata"]["name"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
    metadata = {**template["metadata"], "name": f"{name}-x", "namespace": "default", "ownerReferences": [owner]}
    cached = {"path": path} if path else {}
    found = json.dumps({"weights_bytes": 1, "revision": COMMIT, **cached})
    pod = cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    container = {"name": "storage-initializer", **ended(0, found)}
    status = {"phase": "Succeeded", "containerStatuses": [container]}
    cluster.api.replace({**pod, "apiVersion": "v1", "kind": "Pod", "status": status}, subresource="status")


async def test_a_branch_becomes_a_commit_and_the_job_goes_with_its_pod() -> None:
    async with controlled() as cluster:
        cluster.create_service(model=BRANCH)
        await cluster.reconcile()
        assert cluster.api.list("deployments") == []
        report(cluster, "s")
        await cluster.reconcile()
        (deployment,) = cluster.api.list("deployments")
        (initializer,) = deployment["spec"]["template"]["spec"]["initContainers"]
        assert initializer["args"][0] == f"hf://a/b:{COMMIT}"
        await cluster.reconcile()
        assert (cluster.api.list("jobs"), cluster.api.list("pods")) == ([], [])
        status = (cluster.api.get("embeddingservices", "s") or {})["status"]
        assert status["model"]["revision"] == COMMIT


async def test_a_job_is_told_what_services_of_its_namespace_mount_from_the_same_cache() -> None:
    async with controlled() as cluster:
        cluster.create_service("one", model={**BRANCH, "cache": CACHE})
        await cluster.reconcile("one")
        report(cluster, "one", "a-b-1")
        await cluster.reconcile("one")
        cluster.create_service("two", model={"storageUri": "s3://b/c", "cache": CACHE})
        cluster.create_service("three", model={**BRANCH, "cache": {"persistentVolumeClaim": "other"}})
        await cluster.reconcile("two")
        await cluster.reconcile("three")
        assert "--keep=a-b-1" in command(cluster, "two")
        assert not any(each.startswith("--keep") for each in command(cluster, "three"))


async def test_a_claim_of_a_service_that_others_name_is_not_deleted_with_it() -> None:
    async with controlled() as cluster:
        cluster.create_service(model={**BRANCH, "cache": {"size": "1Gi"}})
        cluster.create_service("t", model={**BRANCH, "cache": {"persistentVolumeClaim": "s-cache"}})
        cluster.create_service("u", model={"storageUri": "pvc://s-cache/models/x"})
        cluster.create_service("v", model={**BRANCH, "cache": {"persistentVolumeClaim": "another"}})
        await cluster.reconcile()
        cluster.api.delete("embeddingservices", "s")
        await cluster.reconcile("t")
        assert cluster.api.get("persistentvolumeclaims", "s-cache") is not None
        cluster.api.delete("embeddingservices", "t")
        await cluster.sync()
        assert cluster.api.get("persistentvolumeclaims", "s-cache") is not None
        cluster.api.delete("embeddingservices", "u")
        await cluster.sync()
        assert cluster.api.get("persistentvolumeclaims", "s-cache") is None


FOLLOW = {**BRANCH, "updatePolicy": "Follow", "updateIntervalSeconds": 60}


async def a_following_service(cluster: Controlled) -> None:
    """It serves, and its next check is due."""
    cluster.create_service(model=FOLLOW)
    await cluster.reconcile()
    report(cluster, "s")
    await cluster.reconcile()
    make_ready(cluster)
    cluster.api.delete("jobs", job_of(cluster, "s")["metadata"]["name"])
    cluster.now += timedelta(seconds=60)


def make_ready(cluster: Controlled) -> None:
    (deployment,) = cluster.api.list("deployments")
    seen = {"observedGeneration": deployment["metadata"]["generation"], "replicas": 1}
    cluster.api.replace({**deployment, **APPS, "status": seen}, subresource="status")
    pod = cluster.api.create(a_pod_of(deployment))
    scheduled = {"type": "PodScheduled", "status": "True"}
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    container = {"name": "server", **running(ready=True)}
    status = {"phase": "Running", "conditions": [scheduled, ready], "containerStatuses": [container]}
    cluster.api.replace({**pod, "apiVersion": "v1", "kind": "Pod", "status": status}, subresource="status")


@pytest.mark.parametrize(
    "words",
    ["jobs.batch is forbidden: exceeded quota: q, requested: count/jobs.batch=1", 'admission webhook "w" denied it'],
)
async def test_a_check_that_the_api_server_refuses_leaves_the_service_ready_and_says_so(words: str) -> None:
    async with controlled() as cluster:
        await a_following_service(cluster)
        cluster.api.faults.fail("create", "jobs", 403, times=None, reason="Forbidden", message=words)
        for _ in range(2):
            assert await cluster.reconcile() is not None
            assert cluster.condition("Ready")[:2] == ("True", "Ready")
            assert words in cluster.condition("ModelAvailable")[2]
        cluster.api.faults.clear()
        await cluster.reconcile()
        assert job_of(cluster, "s")
        assert words not in cluster.condition("ModelAvailable")[2]


async def test_a_check_whose_name_is_taken_leaves_the_service_ready_and_says_so() -> None:
    async with controlled() as cluster:
        await a_following_service(cluster)
        await cluster.reconcile()
        job = job_of(cluster, "s")
        cluster.api.delete("jobs", job["metadata"]["name"])
        metadata = {"name": job["metadata"]["name"], "namespace": "default", "labels": job["metadata"]["labels"]}
        cluster.api.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job["spec"]})
        await cluster.reconcile()
        assert cluster.condition("Ready")[:2] == ("True", "Ready")
        assert "exists and has no controller" in cluster.condition("ModelAvailable")[2]


async def test_a_claim_of_the_operator_grows_in_place() -> None:
    async with controlled() as cluster:
        service = cluster.create_service(model={**BRANCH, "cache": {"size": "1Gi"}})
        await cluster.reconcile()
        (before,) = cluster.api.list("persistentvolumeclaims")
        await cluster.reconcile()
        assert cluster.api.list("persistentvolumeclaims") == [before], "what the server adds is no reason to write"
        service = cluster.api.get("embeddingservices", "s") or {}
        service["spec"]["model"]["cache"]["size"] = "2Gi"
        cluster.api.replace(service)
        await cluster.reconcile()
        (after,) = cluster.api.list("persistentvolumeclaims")
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        assert after["spec"]["resources"]["requests"] == {"storage": "2Gi"}
