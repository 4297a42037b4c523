"""The Job that resolves or caches a model: its pods have the initializer's rights, and no others."""

from typing import Any

import pytest

from embedding_operator.constants import REVISION_LABEL, SERVICE_LABEL
from embedding_operator.core.build.model_job import model_job
from embedding_operator.resources.kubernetes import Container, KeyRef
from embedding_runtime.contract import RETRY_IS_USELESS
from support.builders import SETTINGS, Raw

OWNER = {"apiVersion": "serving.embeddings.dev/v1alpha1", "kind": "ModelCache", "name": "m", "uid": "5eed"}
STORAGE = Container.model_validate(
    {
        "image": "foreign:1",
        "args": ["--fast"],
        "env": [{"name": "HF_ENDPOINT", "value": "http://mirror"}, {"name": "HF_TOKEN", "value": "theirs"}],
        "resources": {"limits": {"memory": "2Gi"}},
    }
)


def a_job(**given: Any) -> Raw:
    return model_job(
        **{
            "name": "m-model-1",
            "namespace": "default",
            "labels": {SERVICE_LABEL: "m"},
            "owner": {**OWNER, "controller": True},
            "command": ["resolve", "hf://a/b"],
            "settings": SETTINGS,
            "ttl_seconds": 300,
            **given,
        }
    )


def pod_of(job: Raw) -> Raw:
    spec: Raw = job["spec"]["template"]["spec"]
    return spec


def container_of(job: Raw) -> Raw:
    (container,) = pod_of(job)["containers"]
    return dict(container)


def env_of(job: Raw) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container_of(job)["env"]}


@pytest.mark.parametrize("claim", [None, "models"])
def test_its_pods_pass_the_restricted_pod_security_standard(claim: str | None) -> None:
    pod, container = pod_of(a_job(claim=claim)), container_of(a_job(claim=claim))
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert security["readOnlyRootFilesystem"] is True
    kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
    assert kinds <= {"emptyDir", "persistentVolumeClaim"}


def test_its_pods_have_no_service_account_token() -> None:
    assert pod_of(a_job())["automountServiceAccountToken"] is False


def test_its_pods_have_its_labels_and_no_revision() -> None:
    labels = a_job()["spec"]["template"]["metadata"]["labels"]
    assert labels == {SERVICE_LABEL: "m"}
    assert REVISION_LABEL not in labels


def test_only_what_cannot_heal_ends_it_before_its_retries() -> None:
    rules = a_job()["spec"]["podFailurePolicy"]["rules"]
    assert rules[0]["onExitCodes"]["values"] == [2, RETRY_IS_USELESS], "2: the URI is unknown"
    assert rules[0]["onExitCodes"]["containerName"] == container_of(a_job())["name"]
    assert a_job()["spec"]["backoffLimit"] > 0


def test_it_runs_our_image_with_the_variables_and_resources_of_the_storage_container() -> None:
    job = a_job(container=STORAGE, env={"HF_ENDPOINT": "http://hub"})
    container = container_of(job)
    assert container["image"] == SETTINGS.storage_image
    assert container["args"] == ["resolve", "hf://a/b"]
    assert env_of(job)["HF_ENDPOINT"] == "http://mirror"
    assert container["resources"]["limits"] == {"memory": "2Gi"}


def test_the_service_s_token_wins_over_the_storage_container_s() -> None:
    job = a_job(container=STORAGE, token=KeyRef(name="mine", key="KEY"))
    assert "HF_TOKEN" not in env_of(job)
    (secret,) = [each["secret"] for each in pod_of(job)["volumes"] if "secret" in each]
    assert (secret["secretName"], secret["items"][0]["key"]) == ("mine", "KEY")
    assert env_of(job)["HF_TOKEN_PATH"].startswith(container_of(job)["volumeMounts"][-1]["mountPath"])


def test_a_claim_is_mounted_for_writing_and_its_group_is_the_image_s() -> None:
    job = a_job(claim="models")
    assert {"name": "cache", "mountPath": "/cache"} in container_of(job)["volumeMounts"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}} in pod_of(job)["volumes"]
    assert pod_of(job)["securityContext"]["fsGroup"] == 1000
    assert "fsGroup" not in pod_of(a_job())["securityContext"]


def test_without_an_owner_it_has_no_reference() -> None:
    assert "ownerReferences" not in a_job(owner=None)["metadata"]
    assert a_job()["metadata"]["ownerReferences"] == [{**OWNER, "controller": True}]
