"""The store keeps what plans read, and no more."""

from typing import Any

from embedding_operator.core.pods import pod_of
from embedding_operator.kinds import DEPLOYMENT, EMBEDDING_SERVICE, POD
from embedding_operator.shell.trim import trimmed


def metadata(**more: Any) -> dict[str, Any]:
    return {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1", **more}


def an_entry(manager: str, fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "fieldsV1": fields, **more}


def test_a_service_keeps_all_but_what_kubectl_and_the_api_server_note_for_themselves() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "kept"}
    raw = {"metadata": metadata(annotations=annotations, managedFields=[{}]), "spec": {"a": 1}, "status": {"b": 2}}
    kept = trimmed(EMBEDDING_SERVICE, raw)
    assert kept["metadata"] == metadata(annotations={"mine": "kept"})
    assert (kept["spec"], kept["status"], kept["kind"]) == ({"a": 1}, {"b": 2}, "EmbeddingService")


def test_of_a_child_s_managed_fields_those_are_kept_that_say_what_others_set_in_its_spec() -> None:
    theirs = an_entry("kubectl", {"f:spec": {"f:paused": {}}})
    entries = [
        theirs,
        an_entry("embedding-operator", {"f:spec": {"f:replicas": {}}}),
        an_entry("kube-controller-manager", {"f:spec": {}, "f:status": {}}, subresource="status"),
        an_entry("kubectl-annotate", {"f:metadata": {"f:annotations": {}}}),
    ]
    kept = trimmed(DEPLOYMENT, {"metadata": metadata(managedFields=entries), "spec": {"replicas": 1}})
    assert kept["metadata"]["managedFields"] == [theirs]


def test_a_child_s_annotations_are_kept_whole_since_a_put_writes_them_back() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "{}"}
    kept = trimmed(DEPLOYMENT, {"metadata": metadata(annotations=annotations), "spec": {}})
    assert kept["metadata"]["annotations"] == annotations


def test_of_a_deployment_s_status_only_counts_and_conditions_are_kept_without_their_heartbeat() -> None:
    condition = {"type": "Available", "status": "True", "reason": "R", "message": "m", "lastTransitionTime": "t"}
    status = {"replicas": 1, "collisionCount": 3, "conditions": [{**condition, "lastUpdateTime": "now"}]}
    kept = trimmed(DEPLOYMENT, {"metadata": metadata(), "spec": {}, "status": status})
    assert kept["status"] == {"replicas": 1, "conditions": [condition]}


def test_a_trimmed_pod_says_the_same_as_the_whole_one() -> None:
    labels = {"pod-template-hash": "abc", "serving.embeddings.dev/revision": "12345678"}
    deployment = {"metadata": {"name": "d", "labels": {"serving.embeddings.dev/revision": "12345678"}}}
    owner = {"kind": "ReplicaSet", "name": "d-abc", "uid": "r", "controller": True}
    annotations = {
        "serving.embeddings.dev/template": "t",
        "serving.embeddings.dev/draining": "2026-03-01T11:00:00Z",
        "cni.example/address": "10.0.0.2",
    }
    running = {"state": {"running": {"startedAt": "2026-03-01T10:00:00Z"}}, "ready": True, "restartCount": 1}
    ended = {"state": {"terminated": {"exitCode": 0, "reason": "Completed", "message": "done"}}}
    raw = {
        "metadata": metadata(
            labels=labels, annotations=annotations, ownerReferences=[owner], creationTimestamp="2026-03-01T09:00:00Z"
        ),
        "spec": {"nodeName": "node", "containers": [{"name": "server", "image": "i"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.0.0.1",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T10:05:00Z"}],
            "initContainerStatuses": [{"name": "storage-initializer", "imageID": "i", **ended}],
            "containerStatuses": [{"name": "server", "imageID": "i", **running}, {"name": "sidecar", **running}],
        },
    }
    kept = trimmed(POD, raw)
    assert pod_of(kept, [deployment]) == pod_of(raw, [deployment])
    assert pod_of(raw, [deployment]) is not None
    assert "10.0.0.2" not in str(kept)


def test_of_a_pod_its_node_and_what_it_mounts_of_claims_are_kept() -> None:
    claim = {"name": "model", "persistentVolumeClaim": {"claimName": "models"}}
    mount = {"name": "model", "mountPath": "/mnt/models", "subPath": "models/a"}
    spec = {
        "nodeName": "node",
        "volumes": [claim, {"name": "tmp", "emptyDir": {}}],
        "containers": [{"name": "server", "image": "i", "volumeMounts": [mount, {"name": "tmp", "mountPath": "/tmp"}]}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}
    kept = {"nodeName": "node", "volumes": [claim], "containers": [{"volumeMounts": [mount]}]}
    assert trimmed(POD, pod)["spec"] == kept
