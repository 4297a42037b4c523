"""One ModelCache against an API server: its claim, its Jobs, its status, and what goes with it."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from embedding_operator.constants import (
    ADOPT_ANNOTATION,
    API_VERSION,
    CACHE_LABEL,
    MANAGED_BY,
    MANAGED_LABEL,
    SERVICE_LABEL,
)
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import ClusterFault, Denied, NameTaken
from embedding_runtime.contract import RETRY_IS_USELESS, DownloadedModel, short_path
from support.builders import COMMIT, ended
from support.controlled import Controlled, controlled
from support.fake_api import ApiError

URI = "hf://a/b"
Raw = dict[str, Any]


def create_cache(it: Controlled, **spec: Any) -> Raw:
    models = spec.pop("models", [{"storageUri": URI}])
    volume = {} if "persistentVolumeClaim" in spec else {"size": "1Gi"}
    metadata = {"name": "c", "namespace": "default"}
    spec = {**volume, "models": models, **spec}
    return it.api.create({"apiVersion": API_VERSION, "kind": "ModelCache", "metadata": metadata, "spec": spec})


def end_job(it: Controlled, message: str, *, exit_code: int = 0, of: str = "c") -> None:
    """As the kubelet and the Job controller do."""
    (job,) = (each for each in it.api.list("jobs") if each["metadata"]["name"].startswith(f"{of}-"))
    template = job["spec"]["template"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "controller": True}
    owner |= {"name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
    metadata = {"name": f"{owner['name']}-x", "namespace": "default", "labels": template["metadata"]["labels"]}
    metadata["ownerReferences"] = [owner]
    pod = it.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
    container = {"name": "storage-initializer", **ended(exit_code, message)}
    phase = "Failed" if exit_code else "Succeeded"
    it.api.replace({**pod, "status": {"phase": phase, "containerStatuses": [container]}}, subresource="status")
    kind = "Failed" if exit_code else "Complete"
    condition = {"type": kind, "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
    it.api.replace({**job, "status": {"conditions": [condition]}}, subresource="status")


def status_of(it: Controlled) -> Raw:
    status: Raw = (it.api.get("modelcaches", "c") or {}).get("status", {})
    return status


def condition_of(it: Controlled, kind: str = "Ready") -> tuple[str, str, str]:
    (found,) = (each for each in status_of(it)["conditions"] if each["type"] == kind)
    return found["status"], found["reason"], found["message"]


async def test_a_cache_gets_its_claim_a_job_and_a_status_in_one_reconcile() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        assert it.written == [
            ("create", "persistentvolumeclaims"),
            ("create", "jobs"),
            ("update", "modelcaches/status"),
        ]
        assert status_of(it)["claim"] == "c"
        assert condition_of(it)[:2] == ("False", "Pending")


async def test_a_job_that_reports_makes_the_cache_ready_and_then_nothing_is_written() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        end_job(it, str(DownloadedModel(weights_bytes=5, path="a-b-1", used_bytes=5, free_bytes=7)))
        await it.reconcile_cache()
        assert condition_of(it) == ("True", "Ready", "1 of 1 models are ready.")
        assert [event for event, _ in it.events] == ["Downloaded"]
        it.api.requests.clear()
        await it.reconcile_cache()
        assert it.written == []


async def test_a_verdict_of_a_job_is_reported_with_its_remedy() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        end_job(it, "some log\nModelNotFound: the hub has no a/b", exit_code=3)
        await it.reconcile_cache()
        (model,) = status_of(it)["models"]
        assert (model["state"], model["reason"]) == ("Failed", "ModelNotFound")
        assert model["message"].startswith("the hub has no a/b. Correct its storageUri;")
        assert condition_of(it, "Stalled")[0] == "True"


async def test_pods_of_others_that_carry_its_label_report_nothing() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        container = {"name": "storage-initializer", **ended(0, str(DownloadedModel(weights_bytes=5, path="mine")))}
        (job,) = it.api.list("jobs")
        labels = {CACHE_LABEL: "c", "app.kubernetes.io/managed-by": "embedding-operator"}
        metadata = {"name": "mine", "namespace": "default", "labels": labels}
        pod = it.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}})
        it.api.replace(
            {**pod, "status": {"phase": "Succeeded", "containerStatuses": [container]}}, subresource="status"
        )
        complete = {"type": "Complete", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
        it.api.replace({**job, "status": {"conditions": [complete]}}, subresource="status")
        await it.reconcile_cache()
        assert status_of(it)["ready"] == "0/1"


async def test_a_claim_of_another_owner_is_left_alone() -> None:
    async with controlled() as it:
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": "c", "namespace": "default"}
        before = it.api.create(
            {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        )
        create_cache(it)
        with pytest.raises(NameTaken, match="rename the ModelCache, or let the ModelCache take it over"):
            await it.reconcile_cache()
        assert it.api.get("persistentvolumeclaims", "c") == before
        assert condition_of(it, "Stalled")[:2] == ("True", "NameTaken")
        assert it.api.list("jobs") == []


@pytest.mark.parametrize("labels", [{}, {SERVICE_LABEL: "s"}])
async def test_a_claim_whose_owner_says_so_is_taken_over_with_its_volume_and_grows(labels: dict[str, str]) -> None:
    async with controlled() as it:
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        spec |= {"storageClassName": "nfs", "volumeName": "pv-7"}
        for name in ("c", "s-cache"):
            metadata = {"name": name, "namespace": "default", "annotations": {ADOPT_ANNOTATION: "true"}}
            metadata["labels"] = {MANAGED_LABEL: MANAGED_BY, **labels} if labels else {}
            it.api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec})
        create_cache(it, size="2Gi")
        it.create_service(model={"storageUri": URI, "cache": {"size": "2Gi"}})
        for _ in range(2):
            await it.reconcile_cache()
            await it.reconcile()
        for name, owner in (("c", "ModelCache"), ("s-cache", "EmbeddingService")):
            claim = it.api.get("persistentvolumeclaims", name) or {}
            assert [each["kind"] for each in claim["metadata"]["ownerReferences"]] == [owner]
            grown = {**spec, "resources": {"requests": {"storage": "2Gi"}}, "volumeMode": "Filesystem"}
            assert claim["spec"] == grown


async def test_what_a_job_has_reported_is_kept_although_the_claim_cannot_grow() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        end_job(it, str(DownloadedModel(weights_bytes=5, path="a-b-1")))
        cache = it.api.get("modelcaches", "c") or {}
        it.api.replace({**cache, "spec": {**cache["spec"], "size": "2Gi"}})
        it.api.faults.fail("update", "persistentvolumeclaims", 422)
        with pytest.raises(Denied):
            await it.reconcile_cache()
        assert status_of(it)["ready"] == "1/1"
        assert condition_of(it, "Stalled")[:2] == ("True", "Denied")
        assert [event for event, _ in it.events] == ["Downloaded"]


async def test_a_new_spec_tries_a_model_once_however_often_the_claim_cannot_grow() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        end_job(it, "ModelNotFound: the hub has no a/b", exit_code=RETRY_IS_USELESS)
        await it.reconcile_cache()
        cache = it.api.get("modelcaches", "c") or {}
        it.api.replace({**cache, "spec": {**cache["spec"], "size": "2Gi"}})
        it.api.requests.clear()
        it.api.faults.fail("update", "persistentvolumeclaims", 422, times=None)
        for _ in range(5):
            with pytest.raises(Denied):
                await it.reconcile_cache()
            if any(not (each.get("status") or {}).get("conditions") for each in it.api.list("jobs")):
                end_job(it, "ModelNotFound: the hub has no a/b", exit_code=RETRY_IS_USELESS)
        assert it.written.count(("create", "jobs")) == 1
        assert status_of(it)["models"][0]["reason"] == "ModelNotFound"


async def test_a_refused_job_is_reported_in_the_words_of_the_api_server() -> None:
    async with controlled() as it:
        create_cache(it)
        it.api.faults.deny("create", "jobs")
        with pytest.raises(ClusterFault):
            await it.reconcile_cache()
        assert condition_of(it, "Stalled")[0] == "True"
        assert status_of(it)["models"][0]["state"] == "Pending"


async def test_a_job_whose_pods_a_quota_refuses_is_reported_in_the_words_of_its_event() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        (job,) = it.api.list("jobs")
        it.now = datetime.fromisoformat(job["metadata"]["creationTimestamp"]) + timedelta(seconds=40)
        involved = {"kind": "Job", "namespace": "default", "name": job["metadata"]["name"]}
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}}
        event |= {"type": "Warning", "reason": "FailedCreate", "message": 'pods "x" is forbidden: exceeded quota: q, a'}
        it.api.create({**event, "involvedObject": {**involved, "uid": job["metadata"]["uid"]}})
        await it.reconcile_cache()
        assert condition_of(it)[:2] == ("False", "PodsRefused")
        assert "exceeded quota: q, a. Raise ResourceQuota q" in condition_of(it)[2]


async def test_a_cache_of_another_operator_is_left_alone() -> None:
    async with controlled(lease_name="mine") as it:
        cache = create_cache(it)
        now = it.now.isoformat()
        spec = {"holderIdentity": "x", "renewTime": now, "leaseDurationSeconds": 10}
        metadata = {"name": "other", "namespace": "default"}
        it.api.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
        status = {"manager": "default/other", "models": [], "conditions": []}
        it.api.replace({**cache, "status": status}, subresource="status")
        assert await it.reconcile_cache() is not None
        assert [event for event, _ in it.events] == ["ConflictingManager"]
        assert it.api.list("jobs") == []


async def test_a_deleted_cache_takes_its_jobs_with_it_and_its_claim_when_no_pod_uses_it() -> None:
    async with controlled() as it:
        create_cache(it)
        it.create_service("s")
        await it.reconcile_cache()
        claim = it.api.get("persistentvolumeclaims", "c") or {}
        protected = {**claim["metadata"], "finalizers": ["kubernetes.io/pvc-protection"]}
        it.api.replace({**claim, "metadata": protected})  # as the API server's controller does while a pod uses it
        it.api.delete("modelcaches", "c")
        it.api.requests.clear()
        assert await it.reconcile_cache() is None
        assert it.written == []
        assert {key for key, _ in it.added} == {ObjectRef(API_VERSION, "EmbeddingService", "default", "s")}
        assert it.api.list("jobs") == []
        claim = it.api.get("persistentvolumeclaims", "c") or {}
        assert claim["metadata"]["deletionTimestamp"]
        it.api.replace({**claim, "metadata": {**claim["metadata"], "finalizers": []}})
        assert it.api.get("persistentvolumeclaims", "c") is None


async def test_a_service_mounts_the_model_of_the_cache_which_is_then_kept_for_it() -> None:
    async with controlled() as it:
        create_cache(it)
        await it.reconcile_cache()
        report = DownloadedModel(weights_bytes=5, path="a-b-1", revision=COMMIT)
        end_job(it, str(report))
        await it.reconcile_cache()
        it.create_service("s", model={"storageUri": URI})
        await it.reconcile("s")
        end_job(it, str(report), of="s")
        await it.reconcile("s")
        (deployment,) = it.api.list("deployments")
        assert list(mounted(deployment)) == [("c", "a-b-1")]
        cache = it.api.get("modelcaches", "c") or {}
        models = [{"storageUri": URI}, {"storageUri": "hf://a/c"}]
        it.api.replace({**cache, "spec": {**cache["spec"], "models": models}})
        await it.reconcile_cache()
        args = [each["spec"]["template"]["spec"]["containers"][0]["args"] for each in it.api.list("jobs")]
        assert ["hf://a/c", "--keep=a-b-1"] in [[each[1], each[3]] for each in args]


async def a_ready_cache(it: Controlled) -> None:
    create_cache(it)
    await it.reconcile_cache()
    end_job(it, str(DownloadedModel(weights_bytes=5, path="a-b-1")))
    await it.reconcile_cache()
    assert condition_of(it)[0] == "True"


EVICTION = str(DownloadedModel(weights_bytes=5, path="c-d-1", evicted=(short_path("a-b-1"),)))


async def test_what_the_job_of_a_service_reports_as_evicted_is_not_ready() -> None:
    async with controlled() as it:
        await a_ready_cache(it)
        it.create_service("s", model={"storageUri": "hf://c/d", "cache": {"persistentVolumeClaim": "c"}})
        await it.reconcile("s")
        end_job(it, EVICTION, of="s")
        await it.reconcile_cache()
        assert status_of(it)["models"][0]["state"] == "Evicted"


async def test_what_a_job_of_somebody_else_reports_is_not_believed() -> None:
    async with controlled() as it:
        await a_ready_cache(it)
        it.create_service("s", model={"storageUri": "hf://c/d", "cache": {"persistentVolumeClaim": "c"}})
        await it.reconcile("s")
        (job,) = (each for each in it.api.list("jobs") if each["metadata"]["name"].startswith("s-"))
        it.api.delete("jobs", job["metadata"]["name"])
        metadata = {"name": "s-mine", "namespace": "default", "labels": job["metadata"]["labels"]}
        it.api.create({"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": job["spec"]})
        end_job(it, EVICTION, of="s")
        await it.reconcile_cache()
        assert status_of(it)["models"][0]["state"] == "Ready"


async def test_a_claim_of_the_user_is_never_written() -> None:
    async with controlled() as it:
        create_cache(it, persistentVolumeClaim="models")
        await it.reconcile_cache()
        assert ("create", "persistentvolumeclaims") not in it.written
        assert status_of(it)["claim"] == "models"


@pytest.mark.parametrize(
    "spec",
    [
        {"models": [{"storageUri": URI}, {"storageUri": URI}]},
        {"capacity": "much"},
        {"accessMode": "ReadOnlyMany"},
        {"parallelism": 0},
    ],
)
async def test_the_schema_refuses_what_no_operator_could_follow(spec: Raw) -> None:
    async with controlled() as it:
        with pytest.raises(ApiError):
            create_cache(it, **spec)
