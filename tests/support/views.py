"""Views of one service for the tests of its status: `a_view(a_pod_spec(...))` is a service whose rollout is settled."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from embedding_operator.constants import REVISION_LABEL, SERVICE_LABEL
from embedding_operator.core import diagnosis
from embedding_operator.core.diagnosis import ExpectedPod
from embedding_operator.core.objects import LEGACY
from embedding_operator.core.pods import Pod, PodEvent, pod_of
from embedding_operator.core.resolve import resolve_service
from embedding_operator.core.revision import revision_and_template
from embedding_operator.core.rollout import FailedRevision, Phase, Rollout
from embedding_operator.core.view import View
from support.builders import NOW, SETTINGS, Raw, a_pod, a_service, a_snapshot, ended, running

__all__ = [
    "DOWNLOADED",
    "PREVIOUS",
    "a_deployment",
    "a_frontend",
    "a_live_pod",
    "a_view",
    "ago",
    "an_expected_pod",
    "conditions_of",
    "started",
]

PREVIOUS = "0ld00000"
"""A revision that is not the desired one."""
DOWNLOADED = ended()
"""The status of an initializer that has done its work."""


def ago(seconds: float) -> str:
    """A time of the API."""
    return (NOW - timedelta(seconds=seconds)).isoformat()


def started(*, seconds_ago: float = 60, ready: bool = False, last: Raw | None = None) -> Raw:
    """The status of a container that was started then."""
    status = running(ready=ready, last=last)
    return {**status, "state": {"running": {"startedAt": ago(seconds_ago)}}, "started": True}


def a_live_pod(
    revision: str = "new00000",
    template: str | None = "digest",
    *,
    name: str = "pod-1",
    age: float = 120,
    ready: bool = False,
    ready_changed: float = 60,
    node: str | None = "node1",
    **fields: Any,
) -> Pod:
    """A pod of a revision's Deployment; `ready_changed`: so many seconds ago its Ready condition changed last."""
    if ready:
        fields = {"initializer": DOWNLOADED, "server": started(seconds_ago=age, ready=True), **fields}
    raw = a_pod(template, name=name, **fields)
    raw["metadata"] |= {
        "uid": name,
        "creationTimestamp": ago(age),
        "labels": {"pod-template-hash": "5d8"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": f"embedding-model-{revision}-5d8", "controller": True}],
    }
    raw["spec"] = {"nodeName": node} if node and "unschedulable" not in fields else {}
    for condition in raw["status"]["conditions"]:
        condition["lastTransitionTime"] = ago(ready_changed if condition["type"] == "Ready" else age)
        if condition["type"] == "Ready":
            condition["status"] = str(ready)
    pod = pod_of(raw, [a_deployment(revision)])
    assert pod is not None
    return pod


def a_deployment(revision: str, *, replicas: int = 1, age: float = 120, status: Raw | None = None) -> Raw:
    """As the API has it: its controller has seen its last change."""
    labels = {SERVICE_LABEL: "embedding-model"} | ({} if revision == LEGACY else {REVISION_LABEL: revision})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"embedding-model-{revision}",
            "namespace": "default",
            "uid": f"uid-{revision}",
            "labels": labels,
            "generation": 1,
            "creationTimestamp": ago(age),
        },
        "spec": {"replicas": replicas},
        "status": {"observedGeneration": 1, "replicas": replicas, **(status or {})},
    }


def a_frontend(revision: str) -> Raw:
    """The Service that clients use."""
    selector = {SERVICE_LABEL: "embedding-model", REVISION_LABEL: revision}
    metadata = {"name": "embedding-model", "namespace": "default", "uid": "uid-service"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector}}


def an_expected_pod(service: Raw | None = None, *storage_containers: Raw, **fields: Any) -> ExpectedPod:
    """What a service's pods are meant to be; its digest is `digest`."""
    snapshot = a_snapshot(service or a_service(), *storage_containers, **fields)
    resolved = resolve_service(snapshot, SETTINGS)
    _, template = revision_and_template(resolved, SETTINGS)
    return replace(ExpectedPod.of(resolved, {"spec": {"template": template}}), template="digest")


def a_view(
    *pods: Raw,
    service: Raw | None = None,
    previous: Sequence[Raw] = (),
    outdated: Sequence[Raw] = (),
    phase: Phase = Phase.SETTLED,
    failed: FailedRevision | None = None,
    secrets: Mapping[str, frozenset[str] | None] | None = None,
    deployment: Raw | None = None,
    events: Sequence[PodEvent] = (),
    has_frontend: bool = True,
    **fields: Any,
) -> View:
    """A valid service with pods of its desired revision (`pods`, keywords of `a_live_pod`), pods of that revision from
    an older template (`outdated`) and of the previous revision (`previous`). By default the Service selects the
    revision that the phase says.
    """
    bare = a_snapshot(service or a_service(), secrets=secrets)
    resolved = resolve_service(bare, SETTINGS)
    desired, template = revision_and_template(resolved, SETTINGS)
    expected = ExpectedPod.of(resolved, {"spec": {"template": template}})
    serves = phase in (Phase.FIRST, Phase.SETTLED)
    serving = desired if serves else PREVIOUS
    replicas = {desired: resolved.replicas} | ({PREVIOUS: 0} if previous or not serves else {})
    if phase is Phase.QUEUED:
        replicas = {PREVIOUS: resolved.replicas}
    live = a_deployment(desired, replicas=resolved.replicas, status=deployment)
    children = [live, *([a_deployment(PREVIOUS)] if previous else []), *([a_frontend(serving)] if has_frontend else [])]
    made = [
        *(a_live_pod(desired, expected.template, **{"name": f"new-{n}", **each}) for n, each in enumerate(pods)),
        *(a_live_pod(desired, "older", **{"name": f"outdated-{n}", **each}) for n, each in enumerate(outdated)),
        *(a_live_pod(PREVIOUS, "before", **{"name": f"old-{n}", **each}) for n, each in enumerate(previous)),
    ]
    snapshot = replace(bare, children=tuple(children), pods=tuple(made))
    diagnoses = {
        pod.uid: diagnosis.diagnose(pod, expected, events, NOW)
        for pod in snapshot.live_pods(desired)
        if pod.template == expected.template
    }
    finding = diagnosis.of_deployment(live, expected)
    candidate = None if serves else desired
    rollout = Rollout(
        phase, desired, serving, candidate, replicas if previous else {desired: resolved.replicas}, failed
    )
    view = View(snapshot, SETTINGS, NOW, resolved=resolved, rollout=rollout, expected=expected, diagnoses=diagnoses)
    return replace(view, deployment_finding=finding, **fields)


def conditions_of(status: Raw) -> dict[str, str]:
    """Each condition as `status/reason`."""
    return {each["type"]: f"{each['status']}/{each['reason']}" for each in status["conditions"]}
