from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.core.build import templates
from embedding_operator.core.plan import desired_objects
from embedding_operator.errors import RenderFailed
from embedding_operator.settings import Policy, Settings
from support.builders import MINILM, NOW, Raw, a_service, a_snapshot, a_storage_container
from support.builders import SETTINGS as STRICT

SETTINGS = STRICT.model_copy(update={"policy": Policy.unrestricted()})

SECRETS = {"hf-secret": frozenset({"HF_TOKEN"}), "mine": frozenset({"KEY"}), "api-keys": frozenset({"api-keys"})}

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/data/rendered"


def _read(path: Path) -> Raw:
    raw: Raw = yaml.safe_load(path.read_text())
    return {**raw, "metadata": {"namespace": "default", "uid": "5eed", **raw["metadata"]}}


def _desired(raw: Raw, *storage_containers: Raw, settings: Settings = SETTINGS) -> list[Raw]:
    return desired_objects(a_snapshot(raw, *storage_containers, secrets=SECRETS), settings, NOW)


def _pod(raw: Raw, *storage_containers: Raw, settings: Settings = SETTINGS) -> Raw:
    spec: Raw = _desired(raw, *storage_containers, settings=settings)[0]["spec"]["template"]["spec"]
    return spec


def _server(raw: Raw) -> Raw:
    (server,) = _pod(raw)["containers"]
    return dict(server)


def _initializer(raw: Raw, *storage_containers: Raw, settings: Settings = SETTINGS) -> Raw:
    (initializer,) = _pod(raw, *storage_containers, settings=settings)["initContainers"]
    return dict(initializer)


@pytest.mark.parametrize("name", ["embedding-vllm", "embedding-hf", "embedding-api-keys"])
def test_an_example_becomes_exactly_these_objects(name: str) -> None:
    """After a change that is meant, put the output that pytest shows in place of the file, and read the diff."""
    example, storage = _read(ROOT / f"examples/{name}.yaml"), _read(ROOT / "examples/huggingface-storage.yaml")
    objects = desired_objects(replace(a_snapshot(example, storage, secrets=SECRETS), runs_jobs=False), SETTINGS, NOW)
    assert yaml.safe_dump_all(objects, sort_keys=False) == (GOLDEN / f"{name}.yaml").read_text()


@pytest.mark.parametrize(
    ("spec", "image"),
    [
        ({}, "runtime:cpu"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "runtime:cuda"),
        ({"resources": {"limits": {"nvidia.com/gpu": "0"}}}, "runtime:cpu"),
        ({"resources": {"limits": {"nvidia.com/gpu": "1"}}, "image": "my/own:1"}, "my/own:1"),
    ],
)
def test_the_image_is_the_services_own_or_that_of_the_accelerator_it_asks_for(spec: Raw, image: str) -> None:
    assert _server(a_service(**spec))["image"] == image


@pytest.mark.parametrize(
    ("rollout", "rolling"),
    [
        ({}, {"maxSurge": 1, "maxUnavailable": 0}),
        ({"strategy": "Surge"}, {"maxSurge": 1, "maxUnavailable": 0}),
        ({"strategy": "Recreate"}, {"maxSurge": 0, "maxUnavailable": 1}),
    ],
)
@pytest.mark.parametrize("limits", [{}, {"nvidia.com/gpu": "1"}])
def test_no_pod_goes_before_its_successor_is_ready_unless_the_spec_says_so(
    limits: Raw, rollout: Raw, rolling: Raw
) -> None:
    deployment, _ = _desired(a_service(resources={"limits": limits}, rollout=rollout))
    assert deployment["spec"]["strategy"]["rollingUpdate"] == rolling


def _env(container: Raw) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


WITH_TOKEN = {"tokenSecretRef": {"name": "mine", "key": "KEY"}}
HUB_WITH_TOKEN = [{"name": "HF_TOKEN", "value": "the hub's"}]


def test_the_token_is_a_file_of_the_initializer_alone_and_wins_over_the_storage_containers() -> None:
    pod = _pod(a_service(model=WITH_TOKEN), a_storage_container(container={"env": HUB_WITH_TOKEN}))
    (initializer,), (server,) = pod["initContainers"], pod["containers"]
    env = _env(initializer)
    assert (env.get("HF_TOKEN"), env["HF_TOKEN_PATH"]) == (None, "/etc/hub-token/token")
    mount = {"name": "hub-token", "mountPath": "/etc/hub-token", "readOnly": True}
    assert mount in initializer["volumeMounts"]
    volume = {"secretName": "mine", "items": [{"key": "KEY", "path": "token"}], "defaultMode": 0o444}
    assert {"name": "hub-token", "secret": volume} in pod["volumes"]
    assert "hub-token" not in str(server)
    assert "HF_TOKEN" not in str(server)


def test_an_image_that_is_not_ours_gets_the_token_as_a_variable() -> None:
    hub = a_storage_container(container={"env": HUB_WITH_TOKEN, "image": "kserve/storage-initializer:1"})
    pod = _pod(a_service(model=WITH_TOKEN), hub)
    env = _env(pod["initContainers"][0])
    assert env["HF_TOKEN"] == {"secretKeyRef": {"name": "mine", "key": "KEY"}}
    assert "HF_TOKEN_PATH" not in env
    assert "hub-token" not in [each["name"] for each in pod["volumes"]]


def test_a_token_that_a_storage_container_sets_stays_a_variable() -> None:
    env = _env(_initializer(a_service(), a_storage_container(container={"env": HUB_WITH_TOKEN})))
    assert env["HF_TOKEN"] == "the hub's"
    assert "HF_TOKEN_PATH" not in env


def test_without_a_token_the_initializer_gets_none() -> None:
    assert "HF_TOKEN" not in _env(_initializer(a_service()))


def test_another_hub_is_passed_to_the_initializer() -> None:
    settings = SETTINGS.model_copy(update={"hf_endpoint": "http://hub.test"})
    assert _env(_initializer(a_service(), settings=settings))["HF_ENDPOINT"] == "http://hub.test"


def test_the_environment_of_downloads_is_passed_to_every_initializer_and_can_be_overridden() -> None:
    settings = SETTINGS.model_copy(update={"download_env": {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": ".test"}})
    own = a_storage_container(container={"env": [{"name": "NO_PROXY", "value": "hub.test"}]})
    assert _env(_initializer(a_service(), settings=settings))["HTTPS_PROXY"] == "http://proxy:3128"
    environment = _env(_initializer(a_service(), own, settings=settings))
    assert (environment["HTTPS_PROXY"], environment["NO_PROXY"]) == ("http://proxy:3128", "hub.test")


TRUSTED = {"trustRemoteCode": True}


@pytest.mark.parametrize(
    ("model", "downloads"),
    [({}, False), (TRUSTED, True), ({**TRUSTED, "storageUri": "pvc://models/minilm"}, False)],
)
def test_the_initializer_downloads_code_of_other_repositories_only_with_a_trusted_model(
    model: Raw, *, downloads: bool
) -> None:
    assert ("TRUST_REMOTE_CODE" in _env(_initializer(a_service(model=model)))) == downloads


@pytest.mark.parametrize(
    ("of_server", "of_initializer", "passed"),
    [(None, None, None), ("10Gi", None, str(10 << 30)), (None, "2G", "2000000000"), ("1Gi", "2Gi", str(2 << 30))],
)
def test_the_initializer_is_told_what_the_kubelet_lets_its_pod_take_of_the_disk(
    of_server: str | None, of_initializer: str | None, passed: str | None
) -> None:
    def limits(limit: str | None) -> Raw:
        return {"limits": {"ephemeral-storage": limit}} if limit else {}

    storage = a_storage_container(prefixes=["hf://"], container={"resources": limits(of_initializer)})
    initializer = _initializer(a_service(resources=limits(of_server)), storage)
    assert _env(initializer).get("EPHEMERAL_STORAGE_LIMIT") == passed


def test_an_image_that_is_not_ours_gets_no_limit_so_that_its_pods_stay_as_they_are() -> None:
    foreign = a_storage_container(container={"image": "kserve/storage-initializer:1"})
    pods = [_pod(a_service(resources={"limits": limits}), foreign) for limits in ({"ephemeral-storage": "1Gi"}, {})]
    assert pods[0]["initContainers"] == pods[1]["initContainers"]


def test_a_claim_is_mounted_for_the_initializer_alone_and_cannot_be_written() -> None:
    service = a_service(model={"storageUri": "pvc://models/minilm"})
    pod = _pod(service)
    mount = {"name": "source", "mountPath": "/pvc/models", "readOnly": True}
    assert mount in pod["initContainers"][0]["volumeMounts"]
    assert mount["name"] not in [each["name"] for each in pod["containers"][0]["volumeMounts"]]
    assert {"name": "source", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}} in pod["volumes"]


def test_api_keys_are_a_directory_that_the_server_alone_reads_and_that_changes_with_the_secret() -> None:
    pod = _pod(a_service(auth={"apiKeysSecretRef": {"name": "mine", "key": "KEY"}}))
    (server,), (initializer,) = pod["containers"], pod["initContainers"]
    volume = {"secretName": "mine", "items": [{"key": "KEY", "path": "keys"}], "defaultMode": 0o444}
    assert {"name": "api-keys", "secret": volume} in pod["volumes"]
    assert {"name": "api-keys", "mountPath": "/etc/api-keys", "readOnly": True} in server["volumeMounts"]
    assert "--api_keys_file=/etc/api-keys/keys" in server["args"]
    assert "api-keys" not in [each["name"] for each in initializer["volumeMounts"]]
    assert not {"mine", "KEY"} & {word for container in (server, initializer) for word in str(container).split("'")}


@pytest.mark.parametrize(("args", "seconds"), [([], 60), (["--grace_period=0"], 35), (["--grace-period=89.5"], 125)])
def test_a_pod_is_killed_only_after_its_servers_grace_period(args: list[str], seconds: int) -> None:
    assert _pod(a_service(args=args))["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize(("limits", "there"), [({"cpu": "2"}, True), ({"memory": "1Gi"}, False)])
def test_threads_follow_the_cpu_limit_where_there_is_one(limits: Raw, there: bool) -> None:  # noqa: FBT001
    assert ("OMP_NUM_THREADS" in _env(_server(a_service(resources={"limits": limits})))) == there


def test_every_container_passes_the_restricted_level() -> None:
    pod = _pod(a_service(), a_storage_container(container={"image": "hub:1"}))
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }


def test_objects_belong_to_the_service_so_that_they_go_with_it() -> None:
    for obj in _desired(a_service()):
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == ("5eed", True)


def test_objects_of_a_service_from_a_file_have_no_owner() -> None:
    service = a_service()
    del service["metadata"]["uid"]
    assert all("ownerReferences" not in obj["metadata"] for obj in _desired(service))


@given(st.text(min_size=1, max_size=40))
def test_any_text_comes_out_of_a_template_as_it_went_in(text: str) -> None:
    assert _server(a_service(image=text))["image"] == text


def test_a_value_that_is_missing_is_a_bug_that_is_seen_here_and_not_in_the_cluster() -> None:
    with pytest.raises(RenderFailed, match=r"null at \.image"):
        _desired(a_service(), settings=SETTINGS.model_copy(update={"storage_image": None}))


def test_the_pods_digest_changes_with_their_template_and_not_with_the_number_of_them() -> None:
    def digest(**spec: Any) -> str:
        annotations: dict[str, str] = _desired(a_service(**spec))[0]["spec"]["template"]["metadata"]["annotations"]
        return annotations["serving.embeddings.dev/template"]

    assert digest() == digest(replicas=3) != digest(image="other")


def test_the_service_routes_port_80_to_the_server() -> None:
    _, service = _desired(a_service())
    assert service["spec"]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]
    assert _initializer(a_service())["args"] == [MINILM, "/mnt/models"]


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="this PyYAML has no libyaml")
def test_templates_are_parsed_by_libyaml_which_takes_an_eighth_of_the_time() -> None:
    assert templates._Loader is yaml.CSafeLoader
