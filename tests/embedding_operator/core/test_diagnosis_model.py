"""What keeps a model's files away: the initializer's container."""

import pytest

from embedding_operator.core.diagnosis import PodDiagnosis, diagnose
from embedding_operator.core.records import Finding
from support.builders import MINILM, NOW, Raw, a_service, a_storage_container, ended, running, waiting
from support.views import DOWNLOADED, a_live_pod, an_expected_pod

SERVICE = a_service(model={"tokenSecretRef": {"name": "hf-secret"}})
SECRETS = {"hf-secret": frozenset({"HF_TOKEN"})}
EXPECTED = an_expected_pod(SERVICE, secrets=SECRETS)

NOT_FOUND = ended(1, "one\nModelNotFound: hf://a/b is not on the hub")
UNAUTHORIZED = ended(1, "ModelUnauthorized: the hub refuses hf://a/b")
DISK = ended(1, "DownloadFailed: no space left on device")
DAMAGED = ended(3, "ChecksumMismatch: hf://a/b: the checksum of vocab.txt is git 1, but 2 is listed, twice")
FULL = ended(3, "InsufficientStorage: hf://a/b: it needs 2.0 MB, but the volume has 1.0 MB free")
ABOVE_LIMIT = ended(3, "InsufficientStorage: it needs 2.0 MB, but 1.0 MB are left of 4.0 MB of ephemeral-storage")
FOREIGN = ended(1, "Traceback ...\nValueError: what?")
OUT_OF_MEMORY = ended(137, reason="OOMKilled")


def diagnosis(initializer: Raw | None, *, age: float = 5) -> PodDiagnosis:
    return diagnose(a_live_pod(initializer=initializer, age=age), EXPECTED, (), NOW)


@pytest.mark.parametrize(
    ("initializer", "reason", "words"),
    [
        (None, "Pending", "The initializer is about to start."),
        (waiting("PodInitializing"), "Pending", "about to start"),
        (running(), "Downloading", f"The built-in initializer is downloading {MINILM}."),
        (NOT_FOUND, "ModelNotFound", "not on the hub. Correct spec.model.storageUri. If the model is private: the tok"),
        (UNAUTHORIZED, "ModelUnauthorized", "The token of key HF_TOKEN in Secret hf-secret was used, check"),
        (DISK, "DownloadFailed", "no space left on device. Attempt 1 failed; retrying."),
        (DAMAGED, "ChecksumMismatch", "is listed, twice. Upload the model again, name another version of it"),
        (FULL, "InsufficientStorage", "has 1.0 MB free. Enlarge the volume, or free space on it"),
        (
            ABOVE_LIMIT,
            "InsufficientStorage",
            "ephemeral-storage. Set spec.resources.limits.ephemeral-storage; logs",
        ),
        (FOREIGN, "DownloadFailed", "ValueError: what? Attempt 1 failed"),
        (OUT_OF_MEMORY, "OutOfMemory", "all of its memory limit, 1Gi. Create a StorageContainer"),
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: no such host'),
            "ImagePullFailed",
            "The initializer's image storage:test cannot be pulled: no such host. Correct the image",
        ),
        (
            waiting("CreateContainerConfigError", 'secret "hf-secret" not found'),
            "SecretNotFound",
            'The kubelet cannot start the pod: secret "hf-secret" not found. Create what is missing',
        ),
        (
            waiting("CreateContainerError", "no such device"),
            "CreateContainerError",
            "The kubelet cannot start the initializer: no such device.",
        ),
    ],
)
def test_a_model_that_is_not_there_has_its_reason_and_its_remedy(
    initializer: Raw | None, reason: str, words: str
) -> None:
    found = diagnosis(initializer)
    assert found.model is not None
    assert (found.model.reason, words in found.model.message) == (reason, True), found.model.message
    assert found.blocked == found.model


@pytest.mark.parametrize("again", [waiting("CrashLoopBackOff", restarts=1, last=DISK), running(restarts=2, last=DISK)])
def test_a_download_that_is_retried_says_which_attempt_failed(again: Raw) -> None:
    found = diagnosis(again).model
    assert found is not None
    assert found.message.endswith("no space left on device. Attempt 2 failed; retrying.")


def test_a_model_that_wants_a_token_says_that_none_was_used() -> None:
    found = diagnose(a_live_pod(initializer=UNAUTHORIZED), an_expected_pod(), (), NOW).model
    assert found is not None
    assert found.message.endswith("No token was used, name one in spec.model.tokenSecretRef.")


@pytest.mark.parametrize(
    ("containers", "remedy"),
    [
        ([], "Create a StorageContainer for this URI with credentials in spec.container.env."),
        ([a_storage_container("s3", prefixes=["s3://"])], "Check the credentials in spec.container.env of ClusterStor"),
    ],
)
def test_a_bucket_that_wants_credentials_gets_them_from_a_storage_container(containers: list[Raw], remedy: str) -> None:
    expected = an_expected_pod(a_service(model={"storageUri": "s3://bucket/model"}), *containers)
    found = diagnose(a_live_pod(initializer=UNAUTHORIZED), expected, (), NOW).model
    assert found is not None
    assert remedy in found.message


@pytest.mark.parametrize("uri", ["pvc://claim/model", "file:///model"])
def test_a_directory_that_is_missing_is_not_private(uri: str) -> None:
    expected = an_expected_pod(a_service(model={"storageUri": uri}))
    found = diagnose(a_live_pod(initializer=NOT_FOUND), expected, (), NOW).model
    assert found is not None
    assert found.message.endswith("Correct spec.model.storageUri.")


def test_an_initializer_out_of_memory_names_the_storage_container_to_change() -> None:
    hub = a_storage_container(prefixes=["hf://"], container={"resources": {"limits": {"memory": "512Mi"}}})
    found = diagnose(a_live_pod(initializer=OUT_OF_MEMORY), an_expected_pod(None, hub), (), NOW).model
    assert found == Finding(
        "OutOfMemory",
        "The initializer was killed while it downloaded the model. It used all of its memory limit, 512Mi. Raise "
        "spec.container.resources.limits.memory of ClusterStorageContainer hf-hub.",
    )


def test_a_server_that_has_run_has_its_model() -> None:
    assert diagnose(a_live_pod(initializer=DOWNLOADED, server=running()), EXPECTED, (), NOW).model is None


def test_an_initializer_that_runs_again_after_a_reboot_is_downloading() -> None:
    pod = a_live_pod(initializer=running(restarts=1, last=DOWNLOADED), server=ended(255))
    found = diagnose(pod, EXPECTED, (), NOW).blocked
    assert found is not None
    assert found.reason == "Downloading"


def test_a_uri_of_two_thousand_characters_is_cut_in_a_message() -> None:
    service = a_service(model={"storageUri": f"s3://{'x' * 2000}"})
    fetcher = a_storage_container(prefixes=["s3://"], container={"image": "s3:1"})
    found = diagnose(a_live_pod(initializer=running()), an_expected_pod(service, fetcher), (), NOW).model
    assert found is not None
    assert len(found.message) < 300
