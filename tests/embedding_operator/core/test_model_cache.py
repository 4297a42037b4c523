"""What becomes of the models of a cache: one Job each, and what the status says."""

from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.constants import API_VERSION
from embedding_operator.core.plan import Create, Replace
from embedding_operator.core.pods import PodEvent
from embedding_runtime.contract import DownloadProgress
from support.builders import SETTINGS, a_storage_container, waiting
from support.caches import CacheWorld, a_cache

A, B, C = "hf://org/a", "hf://org/b", "hf://org/c"
UNAUTHORIZED = "ModelUnauthorized: GET https://hub/a: 401."


def a_world(*uris: str, **spec: Any) -> CacheWorld:
    world = CacheWorld(a_cache(*(uris or (A,)), **spec))
    world.settle()
    return world


def args_of(world: CacheWorld, uri: str = A) -> list[str]:
    args: list[str] = world.job(uri)["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def test_each_model_is_downloaded_by_one_job_of_our_image() -> None:
    world = a_world(A, B)
    assert world.active() == [A, B]
    (container,) = world.job(A)["spec"]["template"]["spec"]["containers"]
    assert container["image"] == SETTINGS.storage_image
    assert args_of(world)[:3] == ["cache", A, "/cache"]
    assert world.condition()[:2] == ("False", "Pending")


def test_no_more_models_are_downloaded_at_a_time_than_parallelism_says() -> None:
    world = a_world(A, B, C, parallelism=1)
    assert world.active() == [A]
    assert world.state(B)["message"] == "It waits for its turn: spec.parallelism is 1."
    world.succeed(A)
    world.settle()
    assert world.active() == [B]


def test_a_job_that_succeeds_makes_its_model_ready_and_its_report_stays_when_it_is_gone() -> None:
    world = a_world()
    world.succeed(A, path="a-1", size=5 << 20, revision="c0ffee", used_bytes=9 << 20, free_bytes=1 << 30)
    world.settle()
    world.pass_time(days=30)
    world.settle()
    assert world.started == [A]
    state = world.state(A)
    assert (state["state"], state["path"], state["revision"], state["bytes"]) == ("Ready", "a-1", "c0ffee", 5 << 20)
    assert world.cache["status"]["capacity"] == {
        "usedBytes": 9 << 20,
        "freeBytes": 1 << 30,
        "used": "9Mi",
        "free": "1Gi",
    }
    assert world.cache["status"]["ready"] == "1/1"
    assert world.condition() == ("True", "Ready", "1 of 1 models are ready.")
    assert world.kstatus == "Current"


def test_a_pod_that_runs_is_a_download() -> None:
    world = a_world()
    world.run(A)
    world.settle()
    assert world.state(A)["state"] == "Downloading"
    assert world.kstatus == "InProgress"


def test_a_download_shows_how_far_it_is_and_its_pod_is_asked_for_that() -> None:
    world = a_world()
    world.run(A, ip="10.0.0.7")
    (question,) = world.step().questions
    assert question.url == "http://10.0.0.7:8090/progress"
    world.known["progress"] = {
        question.pod: DownloadProgress(done_bytes=5 * 10**8, total_bytes=10**9, bytes_per_second=10**8)
    }
    world.settle()
    download = world.state(A)["download"]
    assert (download["percent"], download["secondsLeft"]) == (50, 5)
    assert world.state(A)["message"].endswith("is downloading it: 50% of 1.0 GB, 100 MB/s, 5 seconds left.")
    world.pods[world.job(A)["metadata"]["name"]].clear()  # it is the one that succeeds
    world.succeed(A)
    world.settle()
    assert "download" not in world.state(A)
    assert world.plan().questions == frozenset()


@pytest.mark.parametrize(
    ("reason", "message", "state"),
    [
        ("ImagePullBackOff", "no such image", ("Downloading", "ImagePullFailed")),
        ("CreateContainerConfigError", 'secret "t" not found', ("Downloading", "SecretNotFound")),
    ],
)
def test_a_pod_that_cannot_start_is_reported_in_the_kubelets_words(
    reason: str, message: str, state: tuple[str, str]
) -> None:
    world = a_world()
    world.wait(A, reason, message)
    world.settle()
    assert (world.state(A)["state"], world.state(A)["reason"]) == state
    assert message in world.state(A)["message"]


@pytest.mark.parametrize("at", [0, 1])
def test_a_container_that_a_webhook_adds_to_a_job_changes_nothing(at: int) -> None:
    world = a_world()
    containers = world.job(A)["spec"]["template"]["spec"]["containers"]
    containers.insert(at, {"name": "sidecar", "image": "sidecar"})
    (job,) = world.jobs.values()
    pod = {"phase": "Pending", "containerStatuses": [{"name": "storage-initializer", **waiting("ErrImagePull", "no")}]}
    owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "controller": True}
    metadata = {"name": "p", "uid": "p", "ownerReferences": [owner], "creationTimestamp": world.now.isoformat()}
    world.pods[job["metadata"]["name"]].append({"metadata": metadata, "status": pod})
    world.settle()
    assert f"image {SETTINGS.storage_image} cannot be pulled" in world.state(A)["message"]


def test_a_job_of_somebody_else_that_names_the_cache_as_its_owner_is_removed() -> None:
    world = a_world()
    metadata = {**world.job(A)["metadata"], "name": "theirs", "uid": "theirs"}
    containers = [{"name": "main", "image": "theirs"}]
    spec = {"template": {"spec": {"containers": containers}}}
    job = {**world.job(A), "metadata": metadata, "spec": spec, "status": {"conditions": []}}
    world.jobs["theirs"], world.pods["theirs"] = job, []
    world.edit(models=[{"storageUri": "s3://needs/credentials", "tokenSecretRef": {"name": "missing"}}])
    world.settle()
    assert "theirs" not in world.jobs


def test_a_job_whose_pods_are_refused_says_so_and_is_looked_at_in_time() -> None:
    world = a_world()
    wait = world.plan().requeue_after
    assert wait is not None
    assert wait <= timedelta(seconds=31)
    world.pass_time(seconds=31)
    words = 'Error creating: pods "cache-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1'
    world.known["events"] = {world.job(A)["metadata"]["uid"]: (PodEvent("FailedCreate", words),)}
    world.settle()
    assert (world.state(A)["state"], world.state(A)["reason"]) == ("Pending", "PodsRefused")
    status, reason, message = world.condition()
    assert (status, reason) == ("False", "PodsRefused")
    assert "created within 30 s: exceeded quota: q, requested: pods=1, used: pods=1. Raise ResourceQuota q" in message
    again = world.plan().requeue_after
    assert again is not None
    assert again <= timedelta(minutes=1)


def test_a_pod_that_does_not_start_is_reported_in_the_words_of_its_event() -> None:
    world = a_world()
    world.wait(A, "ContainerCreating", "")
    world.pass_time(seconds=31)
    (pod,) = world.pods[world.job(A)["metadata"]["name"]]
    event = PodEvent("FailedMount", 'MountVolume.SetUp failed for volume "pv-1": no such share')
    world.known["events"] = {pod["metadata"]["uid"]: (event,)}
    world.settle()
    assert world.state(A)["reason"] == "VolumeNotMounted"
    assert "no such share" in world.state(A)["message"]


def test_a_failure_that_is_final_is_not_tried_again_for_a_day() -> None:
    world = a_world()
    world.fail(A, UNAUTHORIZED)
    world.settle()
    state = world.state(A)
    assert (state["state"], state["reason"], state["retryAt"]) == (
        "Failed",
        "ModelUnauthorized",
        "2026-03-02T12:00:00Z",
    )
    assert state["message"] == (
        "GET https://hub/a: 401. Name a token that may read it in its tokenSecretRef. It is tried again at "
        "2026-03-02T12:00:00Z, or when the spec changes."
    )
    assert world.condition("Stalled")[:2] == ("True", "ModelUnauthorized")
    assert world.kstatus == "Failed"
    world.pass_time(hours=23)
    world.settle()
    assert world.started == [A]
    world.pass_time(hours=1)
    world.settle()
    assert world.started == [A, A]


def test_the_next_plan_comes_when_a_failure_is_to_be_tried_again() -> None:
    world = a_world()
    world.fail(A, UNAUTHORIZED)
    world.step()
    wait = world.plan().requeue_after
    assert wait is not None
    assert wait.total_seconds() == 24 * 3600


def test_a_failure_that_is_final_is_tried_again_when_the_spec_changes() -> None:
    world = a_world()
    world.fail(A, UNAUTHORIZED)
    world.settle()
    world.edit(capacity="10Gi")
    world.settle()
    assert world.started == [A, A]
    assert world.active() == [A]


def test_a_failure_that_is_final_is_tried_again_when_its_storage_container_changes() -> None:
    world = a_world()
    world.fail(A, UNAUTHORIZED)
    world.settle()
    mirror = a_storage_container(container={"env": [{"name": "HF_ENDPOINT", "value": "http://mirror"}]})
    world.known |= CacheWorld(world.cache, storage_containers=[mirror]).known
    world.settle()
    assert world.started == [A, A]


def test_what_may_heal_is_tried_again_when_its_job_has_been_removed() -> None:
    world = a_world()
    world.fail(A, "DownloadFailed: connection reset", is_final=False)
    world.settle()
    assert world.state(A)["message"] == "connection reset. It is tried again within 5 minutes."
    assert world.kstatus == "InProgress"
    assert world.started == [A]
    world.pass_time(minutes=5)
    world.settle()
    assert world.started == [A, A]


def test_an_attempt_that_failed_is_reported_while_the_next_one_is_awaited() -> None:
    world = a_world()
    world.run(A)
    status = {"name": "storage-initializer", "state": {"terminated": {"exitCode": 1, "message": "DownloadFailed: cut"}}}
    world.pods[world.job(A)["metadata"]["name"]][0]["status"] = {"phase": "Failed", "containerStatuses": [status]}
    world.settle()
    assert world.state(A)["message"] == "cut. Attempt 1 failed; retrying."


def test_a_model_that_is_evicted_for_another_one_is_not_downloaded_again() -> None:
    world = a_world(A, B, parallelism=1)
    world.succeed(A, path="a-1")
    world.settle()
    world.pass_time(minutes=10)
    world.settle()
    world.succeed(B, evicted=("a-1",))
    world.settle()
    assert world.states == ["Evicted", "Ready"]
    assert B in world.state(A)["message"]
    assert world.condition("Stalled")[:2] == ("True", "Evicted")
    world.pass_time(days=3)
    world.settle()
    assert world.started == [A, B]


def test_a_model_that_is_evicted_is_downloaded_again_when_the_spec_changes_even_if_its_job_is_still_there() -> None:
    world = a_world(A, B, parallelism=1)
    world.succeed(A, path="a-1")
    world.settle()
    world.succeed(B, evicted=("a-1",))
    world.settle()
    world.edit(capacity="100Gi")
    world.settle()
    assert world.active() == [A]


def test_what_became_ready_after_a_download_was_not_evicted_by_it() -> None:
    world = a_world(A, B)
    world.succeed(B, evicted=("a-1",))  # the files of an earlier time
    world.pass_time(seconds=1)
    world.succeed(A, path="a-1")
    world.settle()
    assert world.states == ["Ready", "Ready"]


def test_a_model_that_the_job_of_a_service_evicts_is_evicted() -> None:
    world = a_world(A, B)
    world.succeed(A, path="a-1")
    world.succeed(B, path="b-1")
    world.settle()
    world.pass_time(minutes=20)
    world.report_of_another("s3://bucket/c", path="c-1", evicted=["a-1"])
    world.settle()
    assert world.states == ["Evicted", "Ready"]
    assert "s3://bucket/c" in world.state(A)["message"]
    assert world.condition("Stalled")[:2] == ("True", "Evicted")
    world.others.clear()
    world.pass_time(days=3)
    world.settle()
    assert world.started == [A, B]


def test_all_models_that_a_job_evicts_are_evicted_however_many_they_are() -> None:
    uris = [f"hf://org/model-{number}" for number in range(64)]
    world = a_world(*uris, parallelism=16)
    for _ in range(4):
        for uri in world.active():
            world.succeed(uri, path=f"{'long' * 25}-{uri.rpartition('/')[2]}")
        world.settle()
    assert set(world.states) == {"Ready"}
    world.pass_time(minutes=20)
    world.report_of_another("hf://org/large", path="large", evicted=[world.state(each)["path"] for each in uris])
    world.settle()
    assert set(world.states) == {"Evicted"}


def test_a_model_that_a_service_has_downloaded_again_is_ready_again() -> None:
    world = a_world()
    world.succeed(A, path="a-1", revision="c0ffee")
    world.settle()
    world.pass_time(minutes=20)
    world.report_of_another(B, path="b-1", evicted=["a-1"])
    world.settle()
    assert world.states == ["Evicted"]
    world.pass_time(minutes=20)
    world.report_of_another(A, path="a-1")
    world.settle()
    assert world.states == ["Ready"]
    assert world.started == [A]


def test_what_an_earlier_job_of_another_evicted_is_there_when_it_was_downloaded_since() -> None:
    world = a_world()
    world.report_of_another(B, path="b-1", evicted=["a-1"])
    world.pass_time(seconds=1)
    world.succeed(A, path="a-1")
    world.settle()
    assert world.states == ["Ready"]


def test_what_the_job_of_a_model_evicts_that_has_left_the_spec_is_evicted() -> None:
    world = a_world(A, B, parallelism=1)
    world.succeed(A, path="a-1")
    world.settle()
    world.succeed(B, path="b-1", evicted=("a-1",))
    world.edit(models=[{"storageUri": A}])
    world.step()
    assert world.states == ["Evicted"]


def test_models_that_pods_mount_are_kept() -> None:
    world = CacheWorld(a_cache(A), mounted=frozenset({"x-1", "y-1"}))
    world.settle()
    assert "--keep=x-1,y-1" in args_of(world)
    assert f"--listed-at={int(world.now.timestamp())}" in args_of(world)


def test_with_more_mounted_models_than_a_command_can_name_none_is_evicted() -> None:
    world = CacheWorld(a_cache(A), mounted=frozenset(f"{each:0120}" for each in range(1000)))
    world.settle()
    assert args_of(world)[3:] == ["--listed-at=0"]


def test_the_capacity_is_passed_on_in_bytes() -> None:
    assert "--capacity=1073741824" in args_of(a_world(capacity="1Gi"))
    assert not any(each.startswith("--capacity") for each in args_of(a_world()))


def test_what_a_storage_container_of_the_namespace_downloads_is_for_its_services_alone() -> None:
    mirror = a_storage_container("mirror", namespace="default", prefixes=["hf://"])
    world = CacheWorld(a_cache(A), storage_containers=[mirror])
    world.settle()
    assert "--source=mirror" in args_of(world)


def test_a_model_that_is_removed_from_the_spec_is_no_longer_downloaded() -> None:
    world = a_world(A, B)
    world.edit(models=[{"storageUri": B}])
    world.settle()
    assert world.active() == [B]
    assert len(world.states) == 1


def test_with_another_claim_all_models_are_downloaded_again() -> None:
    world = a_world()
    world.succeed(A)
    world.settle()
    world.edit(persistentVolumeClaim="other")
    world.settle()
    assert world.active() == [A]
    (volume,) = (each for each in world.job(A)["spec"]["template"]["spec"]["volumes"] if each["name"] == "cache")
    assert volume["persistentVolumeClaim"] == {"claimName": "other"}


def test_other_changes_of_the_spec_leave_what_is_ready_and_what_is_downloading_alone() -> None:
    world = a_world(A, B)
    world.succeed(A)
    world.settle()
    world.edit(models=[{"storageUri": each} for each in (A, B, C)], capacity="10Gi")
    world.settle()
    assert world.started == [A, B, C]


def test_a_release_with_another_image_starts_no_download_again() -> None:
    world = a_world()
    name = world.job(A)["metadata"]["name"]
    world.job(A)["spec"]["template"]["spec"]["containers"][0]["image"] = "storage:older"
    world.settle()
    assert list(world.jobs) == [name]
    assert world.started == [A]


def test_a_claim_of_a_size_is_created_and_owned() -> None:
    world = a_world(claim=None, size="20Gi", storageClassName="fast")
    assert world.claim is not None
    assert world.claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "20Gi"}},
        "storageClassName": "fast",
    }
    (owner,) = world.claim["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("ModelCache", "cac4e", True)
    assert world.cache["status"]["claim"] == "cache"


def test_a_claim_is_owned_by_those_that_name_it_too() -> None:
    world = a_world(claim=None, size="20Gi")
    user = {"apiVersion": API_VERSION, "kind": "EmbeddingService", "name": "s", "uid": "5eed"}
    world.known["claim_users"] = (user,)
    world.edit(size="30Gi")
    world.settle()
    assert world.claim is not None
    assert [each["uid"] for each in world.claim["metadata"]["ownerReferences"]] == ["cac4e", "5eed"]
    assert world.claim["spec"]["resources"]["requests"] == {"storage": "30Gi"}


def test_a_claim_is_not_owned_by_those_any_more_that_have_ceased_to_name_it() -> None:
    world = a_world(claim=None, size="20Gi")
    world.known["claim_users"] = ({"apiVersion": API_VERSION, "kind": "EmbeddingService", "name": "s", "uid": "5eed"},)
    world.settle()
    assert world.claim is not None
    world.claim["metadata"]["ownerReferences"].append({"apiVersion": "v1", "kind": "ConfigMap", "uid": "user-s"})
    world.known["claim_users"] = ()
    world.settle()
    assert [each["uid"] for each in world.claim["metadata"]["ownerReferences"]] == ["cac4e", "user-s"]


def test_a_claim_grows_with_the_spec_after_all_else_was_done() -> None:
    world = a_world(claim=None, size="20Gi")
    assert world.claim is not None
    world.claim["spec"]["volumeName"] = "pv-1"  # by the controller of volumes
    world.edit(size="30Gi", models=[{"storageUri": each} for each in (A, B)])
    *_, last = world.plan().writes
    assert isinstance(last, Replace)
    assert last.object["spec"]["resources"]["requests"] == {"storage": "30Gi"}
    assert last.object["spec"]["volumeName"] == "pv-1"


def test_a_claim_cannot_shrink() -> None:
    world = a_world(claim=None, size="20Gi")
    world.edit(size="10Gi")
    world.settle()
    status, reason, message = world.condition("Stalled")
    assert (status, reason) == ("True", "InvalidSpec")
    assert "spec.size is smaller than PersistentVolumeClaim cache, which has 20Gi" in message
    assert world.started == [A]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"size": "1Gi"}, "give exactly one of persistentVolumeClaim and size"),
        ({"claim": None}, "give exactly one of persistentVolumeClaim and size"),
        ({"accessMode": "ReadWriteOnce"}, "storageClassName and accessMode go with size"),
        ({"capacity": "1.5.3"}, "spec.capacity"),
        ({"modells": []}, "spec.modells: unknown field; did you mean models?"),
    ],
)
def test_a_spec_that_cannot_be_followed_is_reported_and_nothing_is_done(spec: dict[str, object], words: str) -> None:
    world = a_world(**spec)
    assert world.condition("Stalled")[:2] == ("True", "InvalidSpec")
    assert words in world.condition()[2]
    assert world.started == []
    assert world.kstatus == "Failed"


@pytest.mark.parametrize(
    ("uri", "state", "words"),
    [
        (
            "pvc://claim/model",
            "Failed",
            "spec.models[0].storageUri: pvc:// is not for caches",
        ),
        ("file:///models/a", "Failed", "file:// is not for caches"),
        ("hf://nameless", "Failed", "spec.models[0].storageUri: 'hf://nameless'"),
        ("xyz://a/b", "Pending", "no storage container fetches xyz://a/b"),
    ],
)
def test_a_uri_that_a_cache_cannot_hold_is_refused_alone(uri: str, state: str, words: str) -> None:
    world = a_world(uri, B)
    assert world.state(uri)["state"] == state
    assert words in world.state(uri)["message"]
    assert world.active() == [B]


def test_a_token_that_does_not_exist_is_waited_for_and_named() -> None:
    model = {"storageUri": A, "tokenSecretRef": {"name": "token", "key": "KEY"}}
    world = CacheWorld(a_cache(model), secrets={"token": None})
    world.settle()
    assert world.state(A)["reason"] == "SecretNotFound"
    assert world.state(A)["message"].startswith("spec.models[0].tokenSecretRef names key KEY of Secret token")
    assert world.kstatus == "InProgress"
    world.known["secrets"] = {"token": frozenset({"KEY"})}
    world.settle()
    volumes = world.job(A)["spec"]["template"]["spec"]["volumes"]
    (secret,) = [each["secret"] for each in volumes if "secret" in each]
    assert (secret["secretName"], secret["items"][0]["key"]) == ("token", "KEY")


def test_a_job_with_a_report_of_no_path_does_not_make_its_model_ready() -> None:
    world = a_world()
    world.succeed(A, path=None)
    name = world.job(A)["metadata"]["name"]
    world.pods[name].clear()  # deleted before the operator saw it
    world.settle()
    assert world.state(A)["state"] == "Pending"
    world.pass_time(minutes=5)
    world.settle()
    assert world.started == [A, A]


def test_news_of_a_model_are_events_once() -> None:
    world = a_world()
    world.fail(A, UNAUTHORIZED)
    (event,) = world.step().events
    assert (event.type, event.reason) == ("Warning", "ModelUnauthorized")
    assert event.message.startswith(f"{A}: GET https://hub/a: 401.")
    world.edit(capacity="1Gi")
    assert world.step().events == ()


def test_what_the_status_of_another_release_says_in_other_words_is_found_out_again() -> None:
    world = CacheWorld({**a_cache(A), "status": {"claim": "models", "models": [{"storageUri": A, "state": "Warm"}]}})
    world.settle()
    assert world.active() == [A]


def test_names_of_jobs_fit_into_a_label() -> None:
    world = CacheWorld(a_cache(A, name="c" * 63))
    world.settle()
    assert all(len(name) <= 63 for name in world.jobs)


def test_a_plan_creates_the_claim_before_its_jobs() -> None:
    world = CacheWorld(a_cache(A, claim=None, size="1Gi"))
    kinds = [each.object["kind"] for each in world.plan().writes if isinstance(each, Create)]
    assert kinds == ["PersistentVolumeClaim", "Job"]
