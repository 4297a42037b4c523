"""What the chart renders: the rights that the shell uses and no other, the settings that it reads, and safe pods.

Needs helm, which `make verify` and `make e2e` install.
"""

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from embedding_operator.core.quantity import amount
from embedding_operator.kinds import KINDS, LEASE
from embedding_operator.settings import Policy, SecretPolicy, Settings

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "embedding-operator"
HELM = shutil.which("helm", path=f"{ROOT / '.bin'}:{os.environ['PATH']}")
EVERY_VALUES_FILE = pytest.mark.parametrize("values", sorted(CHART.glob("ci/*.yaml")), ids=lambda path: path.stem)

pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not installed (make verify does it)")

Rights = dict[tuple[str, str], set[str]]


def rendered(values: Path | None = None, *arguments: str) -> list[dict[str, Any]]:
    """The objects of a release `embeddings` in the namespace `system`."""
    command = [str(HELM), "template", "embeddings", str(CHART), "--namespace=system", "--kube-version=1.35.0"]
    files = [] if values is None else [f"--values={values}"]
    output = subprocess.run([*command, *files, *arguments], check=True, capture_output=True, text=True).stdout
    return [obj for obj in yaml.safe_load_all(output) if obj]


def of_kind(kind: str, objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [obj for obj in objects if obj["kind"] == kind]


def granted(roles: Iterable[dict[str, Any]]) -> Rights:
    """Verbs by (group, resource)."""
    rights: Rights = defaultdict(set)
    for role in roles:
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    rights[group, resource] |= set(rule["verbs"])
    return dict(rights)


def used() -> Rights:
    """The same of what the operator does, as the table of kinds has it."""
    rights: Rights = defaultdict(set)
    for kind in KINDS:
        for verb in kind.verbs:
            name, _, subresource = verb.partition(" ")
            rights[kind.group, f"{kind.plural}/{subresource}".rstrip("/")].add(name)
    return dict(rights)


def merged(*rights: Rights) -> Rights:
    result: Rights = defaultdict(set)
    for each in rights:
        for resource, verbs in each.items():
            result[resource] |= verbs
    return dict(result)


def the_operators(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """Roles of the operator itself, not those for users."""
    return [each for each in of_kind(kind, objects) if not is_aggregated(each)]


def is_aggregated(role: dict[str, Any]) -> bool:
    return any(label.startswith("rbac.authorization.k8s.io/aggregate") for label in role["metadata"]["labels"])


def the_operator(objects: list[dict[str, Any]]) -> dict[str, Any]:
    (deployment,) = of_kind("Deployment", objects)
    spec: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return spec


def test_the_rights_are_those_of_the_table_of_kinds_and_no_others() -> None:
    objects = rendered()
    assert granted(the_operators(objects, "ClusterRole") + of_kind("Role", objects)) == used()


def test_with_namespaces_named_the_rights_are_the_same_there_and_almost_none_elsewhere() -> None:
    objects = rendered(CHART / "ci" / "namespaced-values.yaml")
    everywhere = granted(the_operators(objects, "ClusterRole"))
    lease = {(LEASE.group, LEASE.plural): set(LEASE.verbs)}
    assert everywhere == {
        ("serving.embeddings.dev", "clusterstoragecontainers"): {"get", "list", "watch"},
        ("serving.embeddings.dev", "clustermodelcaches"): {"get", "list", "watch"},
        ("serving.embeddings.dev", "clustermodelcaches/status"): {"update"},
        (LEASE.group, LEASE.plural): {"get"},
    }
    left_to_another = ("serving.embeddings.dev", "clusterstoragecontainers/status")
    for namespace in ("search", "recommendations"):
        there = granted(each for each in of_kind("Role", objects) if each["metadata"]["namespace"] == namespace)
        assert merged(there, everywhere, lease) == {key: each for key, each in used().items() if key != left_to_another}


@pytest.mark.parametrize(("values", "writes"), [("default", "true"), ("namespaced", "false")])
def test_only_an_operator_of_all_namespaces_writes_the_status_of_cluster_storage_containers(
    values: str, writes: str
) -> None:
    (container,) = the_operator(rendered(CHART / "ci" / f"{values}-values.yaml"))["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    assert env["EMBEDDING_OPERATOR_WRITES_CLUSTER_STATUS"] == writes


def test_releases_of_one_name_in_two_namespaces_share_no_object_of_the_cluster() -> None:
    names = [
        {(each["kind"], each["metadata"]["name"]) for each in objects if not each["metadata"].get("namespace")}
        for objects in (
            rendered(None, f"--namespace={namespace}", "--set=crds.enabled=false") for namespace in ("one", "two")
        )
    ]
    assert names[0]
    assert not names[0] & names[1]


def test_users_get_rights_through_the_clusters_own_roles() -> None:
    roles = {each["metadata"]["name"].rpartition(".")[2]: each for each in rendered_aggregated()}
    assert set(roles) == {"view", "edit"}
    aggregates = {
        name: {label.rpartition("-")[2] for label in role["metadata"]["labels"] if "/aggregate-to-" in label}
        for name, role in roles.items()
    }
    assert aggregates == {"view": {"view", "edit", "admin"}, "edit": {"edit", "admin"}}
    assert set().union(*granted([roles["view"]]).values()) == {"get", "list", "watch"}
    assert ("serving.embeddings.dev", "clusterstoragecontainers") not in granted([roles["edit"]])


def test_the_rights_of_users_may_be_left_to_the_administrator() -> None:
    assert rendered_aggregated("--set=rbac.aggregate=false") == []


def rendered_aggregated(*arguments: str) -> list[dict[str, Any]]:
    return [each for each in of_kind("ClusterRole", rendered(None, *arguments)) if is_aggregated(each)]


def test_the_generated_rules_are_current() -> None:
    assert subprocess.run([sys.executable, ROOT / "tools" / "rbac.py", "--check"], check=False).returncode == 0


def test_a_new_row_in_the_table_of_kinds_is_a_right_in_the_rules() -> None:
    row = "kinds.Kind('batch/v1', 'Job', 'jobs', kinds.Role.CHILD)"
    command = f"from embedding_operator import kinds; kinds.KINDS += ({row},); import rbac; print(rbac.generated())"
    output = subprocess.run(
        [sys.executable, "-c", command], check=True, capture_output=True, text=True, cwd=ROOT / "tools"
    ).stdout
    verbs = "[create, delete, get, list, patch, update, watch]"
    assert f"- apiGroups: [batch]\n  resources: [jobs]\n  verbs: {verbs}" in output


def test_the_lease_that_may_be_changed_is_the_one_that_is_used() -> None:
    objects = rendered()
    (rule,) = [rule for role in of_kind("Role", objects) for rule in role["rules"] if "update" in rule["verbs"]]
    env = {each["name"]: each.get("value") for each in the_operator(objects)["containers"][0]["env"]}
    assert rule["resourceNames"] == [env["EMBEDDING_OPERATOR_LEASE_NAME"]]


@EVERY_VALUES_FILE
def test_every_role_is_bound_to_the_operator_and_to_nobody_else(values: Path) -> None:
    objects = rendered(values)
    name = the_operator(objects)["serviceAccountName"]
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "system"}
    bindings = of_kind("RoleBinding", objects) + of_kind("ClusterRoleBinding", objects)
    assert {(each["roleRef"]["name"], each["metadata"].get("namespace")) for each in bindings} == {
        (each["metadata"]["name"], each["metadata"].get("namespace"))
        for each in of_kind("Role", objects) + the_operators(objects, "ClusterRole")
    }
    assert all(each["subjects"] == [subject] for each in bindings)


@EVERY_VALUES_FILE
def test_the_operator_reads_every_variable_that_the_chart_sets(values: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in the_operator(rendered(values))["containers"][0]["env"]:
        assert each["name"].removeprefix("EMBEDDING_OPERATOR_").lower() in Settings.model_fields
        monkeypatch.setenv(each["name"], each.get("value", "system"))
    Settings()


def test_what_is_set_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    for each in the_operator(rendered(CHART / "ci" / "everything-values.yaml"))["containers"][0]["env"]:
        monkeypatch.setenv(each["name"], each.get("value", "system"))
    settings = Settings()
    assert settings.policy == Policy(
        images=("registry.example/team/*", "other.example/runtime:*"),
        trust_remote_code=True,
        allow_pickle=True,
        secrets=SecretPolicy(require_label=True),
    )
    assert (settings.ignored_resources, settings.rollout_budget) == (("rdma/*",), 10)
    assert settings.runtime_images["amd.com/gpu"] == "registry.example/embeddings/runtime:1-rocm"
    assert settings.storage_image == "registry.example/embeddings/storage:1"
    assert (settings.image_pull_policy, settings.hf_endpoint) == ("Always", "https://hub.example")
    assert settings.download_env == {"HTTPS_PROXY": "http://proxy.example:3128", "NO_PROXY": ".example.internal"}
    assert (settings.cluster_domain, settings.log_level, settings.log_format) == ("example.internal", "DEBUG", "json")


@pytest.mark.parametrize("name", ["HF_TOKEN", "HF_ENDPOINT"])
def test_what_has_a_place_of_its_own_is_rejected_in_the_environment_of_downloads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBEDDING_OPERATOR_DOWNLOAD_ENV", json.dumps({name: "x"}))
    with pytest.raises(ValidationError, match=f"{name} does not belong here: "):
        Settings()


def test_the_strictest_policy_is_the_default_of_the_chart_and_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = the_operator(rendered())["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    monkeypatch.setenv("EMBEDDING_OPERATOR_POLICY", env["EMBEDDING_OPERATOR_POLICY"])
    assert Settings().policy == Policy() == Policy(images=(), trust_remote_code=False, allow_pickle=False)


def test_the_pod_is_ready_when_the_operator_says_that_it_can_lead() -> None:
    (container,) = the_operator(rendered())["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_the_memory_limit_is_enough_for_thousands_of_services() -> None:
    (container,) = the_operator(rendered())["containers"]
    assert amount(container["resources"]["limits"]["memory"]) >= amount("512Mi")


@EVERY_VALUES_FILE
def test_the_pod_passes_the_restricted_level(values: Path) -> None:
    pod = the_operator(rendered(values))
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_definitions_come_with_the_chart_and_stay_without_it() -> None:
    definitions = of_kind("CustomResourceDefinition", rendered())
    assert {each["spec"]["names"]["kind"] for each in definitions} == {
        "EmbeddingService",
        "StorageContainer",
        "ClusterStorageContainer",
        "ModelCache",
        "ClusterModelCache",
    }
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in definitions)
    assert of_kind("CustomResourceDefinition", rendered(None, "--set=crds.enabled=false")) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "replicas=many",
        "images.runtime=null",
        "logging.level=LOUD",
        "watchNamespace[0]=search",
        "images.cpu=x",
        "policy.image=x",
        "rolloutBudget=0",
    ],
)
def test_a_value_that_nothing_reads_or_that_cannot_be_is_refused(wrong: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as raised:
        rendered(None, f"--set={wrong}")
    assert "don't meet the specifications of the schema" in raised.value.stderr
