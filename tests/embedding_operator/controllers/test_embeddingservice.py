"""One EmbeddingService: observe, plan, execute; whatever fails is told."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.constants import SERVICE_LABEL
from embedding_operator.controllers import embeddingservice
from embedding_operator.core.questions import Question
from embedding_operator.errors import Bug, ClusterFault, Denied, FieldOverridden, LeaseLost, NameTaken, Unavailable
from embedding_operator.settings import Settings
from embedding_runtime.contract import DownloadProgress
from support.builders import a_pod_of, ended, running
from support.controlled import Controlled, controlled, service_key
from support.fake_api import ApiError

MANAGED_BY_ANOTHER = {"manager": "default/other", "replicas": 0, "readyReplicas": 0, "conditions": []}
READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"


async def test_a_service_gets_what_it_needs_and_a_status_in_one_reconcile() -> None:
    async with controlled() as it:
        it.create_service()
        await it.reconcile()
        assert it.written == [("create", "deployments"), ("create", "services"), ("update", "embeddingservices/status")]


async def test_a_service_that_is_as_it_should_be_costs_nothing() -> None:
    async with controlled() as it:
        it.create_service()
        await it.reconcile()
        await it.reconcile()
        it.api.requests.clear()
        await it.reconcile()
        assert it.written == []
        assert {each.verb for each in it.api.requests} == {"list"}  # those of the test itself


async def test_a_service_that_is_gone_or_going_is_left_alone() -> None:
    async with controlled() as it:
        assert await it.reconcile() is None
        service = it.create_service()
        it.api.replace({**service, "metadata": {**service["metadata"], "finalizers": ["a.example/b"]}})
        it.api.delete("embeddingservices", "s")
        assert await it.reconcile() is None
        assert it.written == []


async def test_objects_with_copied_labels_are_neither_deleted_nor_changed() -> None:
    async with controlled() as it:
        it.create_service()
        await it.reconcile()
        copied = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "exposed", "namespace": "default", "labels": {SERVICE_LABEL: "s"}},
            "spec": {"ports": [{"port": 80}]},
        }
        before = it.api.create(copied)
        for _ in range(3):
            await it.reconcile()
        assert it.api.get("services", "exposed") == before


async def test_a_memory_limit_that_is_too_low_is_a_warning_and_an_event_before_the_server_is_killed() -> None:
    async with controlled() as it:
        it.create_service(resources={"limits": {"memory": "1Gi"}})
        await it.reconcile()
        pod = it.api.create(a_pod_of(it.api.list("deployments")[0]))
        downloaded = ended(0, '{"weights_bytes": 90868376, "revision": "c9745ed1"}\n')
        containers = {
            "initContainerStatuses": [{"name": "storage-initializer", **downloaded}],
            "containerStatuses": [{"name": "server", **running()}],
        }
        it.api.replace({**pod, "status": {"phase": "Running", **containers}}, subresource="status")
        await it.reconcile()
        status, reason, message = it.condition("MemoryTooSmall")
        assert (status, reason) == ("True", "MemoryTooSmall")
        assert "Set spec.resources.limits.memory to 1216Mi or more." in message
        assert ("MemoryTooSmall", message) in it.events
        service = it.api.get("embeddingservices", "s")
        assert service is not None
        assert service["status"]["model"] == {"name": "s", "revision": "c9745ed1"}
        assert [each["severity"] for each in service["status"]["conditions"] if "severity" in each] == ["Warning"]


async def test_a_taken_name_is_reported_with_its_owner_and_the_object_is_left_alone() -> None:
    async with controlled() as it:
        meta = {"name": "s", "namespace": "default"}
        before = it.api.create(
            {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}}
        )
        it.create_service()
        with pytest.raises(NameTaken):
            await it.reconcile()
        assert it.api.get("services", "s") == before
        assert it.condition(STALLED)[:2] == ("True", "NameTaken")
        assert "Service default/s" in it.condition(STALLED)[2]


@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [
        (403, 'deployments is forbidden: User "operator" cannot create resource "deployments"', "Forbidden"),
        (403, "exceeded quota: small, requested: count/deployments.apps=1", "QuotaExceeded"),
        (403, 'admission webhook "no.example" denied the request: not today', "WebhookDenied"),
        (422, 'Deployment "s" is invalid: spec: Invalid value', "Denied"),
    ],
)
async def test_a_refusal_is_in_the_status_at_once_in_the_refusers_words(status: int, words: str, reason: str) -> None:
    async with controlled() as it:
        it.create_service()
        it.api.faults.fail("create", "deployments", status, message=words)
        with pytest.raises(Denied):
            await it.reconcile()
        state, told, message = it.condition(STALLED)
        assert (state, told) == ("True", reason)
        assert words in message
        assert [each for each, _ in it.events] == [reason]


async def test_a_webhook_that_is_down_is_reported_at_the_second_failure_and_is_gone_with_the_first_success() -> None:
    async with controlled() as it:
        it.create_service()

        def is_down(obj: dict[str, Any]) -> None:
            if obj["kind"] == "Deployment":
                raise ApiError(500, "InternalError", 'failed calling webhook "down.example": connection refused')

        it.api.mutate(is_down)
        with pytest.raises(Unavailable):
            await it.reconcile()
        assert it.condition(RECONCILING) == ("", "", "")
        with pytest.raises(Unavailable):
            await it.reconcile()
        state, _, message = it.condition(RECONCILING)
        assert state == "True"
        assert "down.example" in message
        it.api._webhooks.clear()
        await it.reconcile()
        assert "down.example" not in it.condition(RECONCILING)[2]


async def test_a_bug_is_reported_and_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled() as it:
        it.create_service()

        def broken(*_: Any) -> None:
            raise ZeroDivisionError("by zero")

        monkeypatch.setattr(embeddingservice, "plan_service", broken)
        with pytest.raises(Bug):
            await it.reconcile()
        state, reason, message = it.condition(STALLED)
        assert (state, reason) == ("True", "OperatorBug")
        assert "ZeroDivisionError: by zero" in message


async def test_a_right_to_read_secrets_that_is_missing_is_reported_and_no_secret_called_missing() -> None:
    async with controlled() as it:
        it.create_service(model={"tokenSecretRef": {"name": "token"}})
        it.api.faults.deny("get", "secrets")
        with pytest.raises(Denied):
            await it.reconcile()
        state, reason, message = it.condition(STALLED)
        assert (state, reason) == ("True", "Forbidden")
        assert "get Secret default/token" in message
        assert it.condition("Accepted")[1] != "SecretNotFound"


async def test_a_missing_secret_is_looked_for_again_later() -> None:
    async with controlled() as it:
        it.create_service(model={"tokenSecretRef": {"name": "token"}})
        wait = await it.reconcile()
        assert wait is not None
        assert timedelta(seconds=5) < wait <= timedelta(seconds=20)
        assert it.condition("Accepted")[1] == "SecretNotFound"


async def test_a_status_that_cannot_say_what_failed_leaves_it_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with controlled() as it:
        it.create_service()
        it.api.faults.fail("create", "deployments", 403, message="no deployments")
        it.api.faults.fail("update", "embeddingservices/status", 403, message="no status either")
        with pytest.raises(Denied, match="no deployments"):
            await it.reconcile()
        assert "no status either" in caplog.text


async def test_writes_before_a_failure_are_known_to_the_status_that_reports_it() -> None:
    async with controlled() as it:
        it.create_service()
        it.api.faults.fail("create", "services", 403)
        with pytest.raises(Denied):
            await it.reconcile()
        await it.reconcile()
        assert [verb for verb, resource in it.written if resource == "deployments"] == ["create"]


async def test_a_process_that_does_not_lead_reports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with controlled() as it:
        it.create_service()
        monkeypatch.setattr(it.client, "_seconds_left", lambda: 0.0)
        with pytest.raises(LeaseLost):
            await it.reconcile()
        assert it.written == []


async def test_a_service_of_another_live_operator_is_left_to_it_with_one_event() -> None:
    async with controlled() as it:
        managed_by_another(it)
        for _ in range(3):
            wait = await it.reconcile()
        assert wait == timedelta(seconds=40)
        assert it.written == [("create", "events")]
        assert [reason for reason, _ in it.events] == ["ConflictingManager"]


async def test_it_is_managed_again_when_the_other_operator_is_gone() -> None:
    async with controlled() as it:
        managed_by_another(it)
        await it.reconcile()
        it.api.delete("leases", "operator", "default")
        it.now += timedelta(seconds=60)
        await it.reconcile()
        assert it.api.get("services", "s")


async def test_a_change_of_the_settings_reaches_services_a_few_at_a_time() -> None:
    async with controlled() as it:
        for name in "abc":
            it.create_service(name)
            await it.reconcile(name)
            await it.reconcile(name)
        images = {"cpu": "runtime:new", "nvidia.com/gpu": "runtime:new"}
        it.configure(Settings(runtime_images=images, rollout_budget=1))
        for name in "abc":
            await it.reconcile(name)
        assert it.budget.in_use == 1
        new = [each for each in it.api.list("deployments") if "runtime:new" in str(each["spec"])]
        assert {each["metadata"]["labels"][SERVICE_LABEL] for each in new} == {"a"}


def managed_by_another(it: Controlled) -> None:
    service = it.create_service()
    status = {"manager": "default/operator", "replicas": 0, "readyReplicas": 0, "conditions": []}
    it.api.replace({**service, "status": status}, subresource="status")
    spec = {"holderIdentity": "x", "leaseDurationSeconds": 10, "renewTime": it.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    meta = {"name": "operator", "namespace": "default"}
    it.api.create({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": meta, "spec": spec})


async def test_every_fault_of_the_api_server_is_reported_in_the_end() -> None:
    for status in (400, 401, 403, 413, 422, 429, 500, 503):
        async with controlled() as it:
            it.create_service()
            it.api.faults.fail("create", "deployments", status, times=None, message=f"refused with {status}")
            for _ in range(2):
                with pytest.raises(ClusterFault):
                    await it.reconcile()
            assert f"refused with {status}" in it.condition(STALLED)[2] + it.condition(RECONCILING)[2], status


async def test_nothing_of_a_service_that_is_gone_stays_in_memory() -> None:
    async with controlled() as it:
        it.api.create(a_lease_of("other"))
        other = it.create_service("other", model={"tokenSecretRef": {"name": "missing"}})
        it.create_service("s", model={"tokenSecretRef": {"name": "missing"}})
        await it.reconcile()
        await it.reconcile("other")
        question = Question("pod", 0, "http://10.0.0.1:8090/progress", DownloadProgress)
        for name in ("s", "other"):
            it.reports.ask(service_key(name), frozenset({question}))
        other = it.api.get("embeddingservices", "other") or other
        it.api.replace({**other, "status": MANAGED_BY_ANOTHER}, subresource="status")
        await it.reconcile("other")
        assert set(it.reports._inquiries) == {service_key("s")}, "what another operator manages"
        for name in ("s", "other"):
            it.api.delete("embeddingservices", name)
            await it.reconcile(name)
        assert it.managers.conflicts == 0
        assert it.secrets._known == {}
        assert it.reports._inquiries == {}


async def test_a_service_whose_manager_cannot_be_asked_keeps_no_other_from_the_rollout_budget() -> None:
    async with controlled() as it:
        service = it.create_service()
        it.api.replace({**service, "status": MANAGED_BY_ANOTHER}, subresource="status")
        it.budget.expect([service_key()])
        it.api.faults.fail("get", "leases", 500)
        with pytest.raises(Unavailable):
            await it.reconcile()
        assert it.budget.may_roll(service_key("another"))


def a_lease_of(name: str) -> dict[str, Any]:
    spec = {"holderIdentity": "pod", "leaseDurationSeconds": 10, "renewTime": "2026-03-01T12:00:00.000000Z"}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


async def test_a_webhook_that_overrides_a_field_is_named_as_the_cause_and_keeps_no_service_from_being_written() -> None:
    async with controlled() as it:
        it.api.mutate(with_a_mirror)
        it.create_service()
        await it.reconcile()
        with pytest.raises(FieldOverridden):
            await it.reconcile()
        assert it.api.get("services", "s") is not None
        status, reason, message = it.condition(STALLED)
        assert (status, reason) == ("True", "FieldOverridden")
        assert "spec.template.spec.containers[server].image" in message


async def test_another_controller_that_sets_a_field_again_and_again_is_reported_and_not_fought_for_ever() -> None:
    async with controlled() as it:
        it.create_service()
        await it.reconcile()
        for _ in range(3):
            set_by_another(it)
            await it.reconcile()
        set_by_another(it)
        with pytest.raises(FieldOverridden) as raised:
            await it.reconcile()
        assert raised.value.retry_after == 60
        assert "spec.minReadySeconds" in it.condition(STALLED)[2]


def with_a_mirror(obj: dict[str, Any]) -> dict[str, Any] | None:
    """A webhook that puts another registry in front of every image."""
    if obj["kind"] != "Deployment":
        return None
    changed = copy.deepcopy(obj)
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = "mirror.example/runtime:cpu"
    return changed


def set_by_another(it: Controlled) -> None:
    (deployment,) = it.api.list("deployments")
    it.api.replace({**deployment, "spec": {**deployment["spec"], "minReadySeconds": 5}}, manager="another")
