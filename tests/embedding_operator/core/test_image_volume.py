"""An image as a volume: nodes pull the model and mount it, and no initializer runs."""

from typing import Any

import pytest

from embedding_operator.core.objects import revision_of
from support.builders import Raw, a_service, a_storage_container, running, waiting
from support.caches import a_cache
from support.pure_cluster import PureCluster

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
OTHER = f"sha256:{'f' * 64}"
URI = f"oci://registry.example:5000/models/minilm@{DIGEST}"
REFERENCE = f"registry.example:5000/models/minilm@{DIGEST}"


def a_cluster(*storage_containers: Raw, server_version: tuple[int, int] = (1, 35), **model: Any) -> PureCluster:
    service = a_service(model={"storageUri": URI, "imageVolume": True, **model})
    cluster = PureCluster(service, *storage_containers)
    cluster.server_version = server_version
    cluster.settle()
    return cluster


def pod_spec(cluster: PureCluster, number: int = 0) -> Raw:
    spec: Raw = cluster.deployments[number]["spec"]["template"]["spec"]
    return spec


def message(cluster: PureCluster, kind: str) -> str:
    return next(str(each["message"]) for each in cluster.status["conditions"] if each["type"] == kind)


@pytest.mark.parametrize("uri", [URI, URI.replace("@", ":v1@")])
def test_the_image_is_mounted_by_its_digest_so_that_its_models_directory_is_the_model(uri: str) -> None:
    spec = pod_spec(a_cluster(storageUri=uri))
    assert "initContainers" not in spec
    (server,) = spec["containers"]
    assert {"name": "model", "image": {"reference": REFERENCE, "pullPolicy": "IfNotPresent"}} in spec["volumes"]
    assert {"name": "model", "mountPath": "/mnt", "readOnly": True} in server["volumeMounts"]


def test_without_the_field_an_initializer_downloads_the_image() -> None:
    (initializer,) = pod_spec(a_cluster(imageVolume=False))["initContainers"]
    assert initializer["args"] == [URI, "/mnt/models"]


def test_no_storage_container_is_used_whatever_it_says() -> None:
    credentials = {"env": [{"name": "OCI_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "gone", "key": "k"}}}]}
    cluster = a_cluster(a_storage_container("registry", prefixes=["oci://"], container=credentials))
    assert cluster.condition("Accepted") == ("True", "Accepted")
    assert cluster.status["storageContainer"]["kind"] == "BuiltIn"
    assert cluster.status["storageContainer"]["chosenBy"].startswith("spec.model.imageVolume")
    assert "OCI_PASSWORD" not in str(pod_spec(cluster))


@pytest.mark.parametrize(("image_volume", "jobs"), [(True, 0), (False, 1)])
def test_a_model_cache_that_has_the_model_is_not_used(image_volume: bool, jobs: int) -> None:  # noqa: FBT001
    model = {"storageUri": URI, "state": "Ready", "reason": "Downloaded", "message": "", "path": "minilm-1"}
    cluster = PureCluster(a_service(model={"storageUri": URI, "imageVolume": image_volume}))
    cluster.model_caches = [{**a_cache(URI), "status": {"claim": "models", "models": [{**model, "revision": DIGEST}]}}]
    cluster.settle()
    assert len(cluster.jobs) == jobs


def test_mounting_what_was_downloaded_is_a_new_revision_beside_the_serving_one() -> None:
    cluster = a_cluster(imageVolume=None)
    cluster.run(cluster.serving)
    cluster.after(3)
    before = cluster.serving
    cluster.change(model={"imageVolume": True})
    cluster.settle()
    assert cluster.serving == before
    assert len(cluster.deployments) == 2


def test_the_status_has_the_digest_that_the_serving_pods_have_mounted() -> None:
    cluster = a_cluster()
    cluster.run(cluster.serving)
    cluster.after(3)
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.status["model"]["revision"] == DIGEST
    cluster.change(model={"storageUri": URI.replace(DIGEST, OTHER)})
    cluster.settle()
    assert cluster.status["model"]["revision"] == DIGEST


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"storageUri": "oci://registry.example/minilm:v1"}, "use oci://registry/repository@sha256:DIGEST in spec.mod"),
        ({"storageUri": "hf://owner/name"}, "nodes mount an image by its digest"),
        ({"storageUri": "other://owner/name"}, "nodes mount an image by its digest"),
        ({"cache": {"size": "1Gi"}}, "but spec.model.cache configures a download: leave one of both out"),
        ({"storageUris": [{"uri": "s3://a/b", "mountPath": "a"}]}, "but spec.model.storageUris configures a download"),
        ({"storageContainerName": "registry"}, "but spec.model.storageContainerName configures a download"),
        ({"tokenSecretRef": {"name": "hf"}}, "but spec.model.tokenSecretRef configures a download"),
    ],
)
def test_what_would_have_no_effect_is_refused_in_words(model: Raw, words: str) -> None:
    cluster = a_cluster(**model)
    assert cluster.condition("Accepted") == ("False", "InvalidSpec")
    assert "spec.model.imageVolume: " in message(cluster, "Accepted")
    assert words in message(cluster, "Accepted")
    assert cluster.deployments == []


def test_an_api_server_that_would_drop_the_volume_is_refused_until_it_is_upgraded() -> None:
    cluster = a_cluster(server_version=(1, 34))
    assert cluster.condition("Accepted") == ("False", "InvalidSpec")
    words = "the API server has version 1.34, and drops image volumes before 1.35: upgrade the cluster, or leave"
    assert words in message(cluster, "Accepted")
    assert cluster.deployments == []
    cluster.server_version = (2, 0)
    cluster.settle()
    assert REFERENCE in str(pod_spec(cluster)["volumes"])


def test_pods_that_serve_stay_when_a_later_spec_is_refused() -> None:
    cluster = a_cluster()
    cluster.run(cluster.serving)
    cluster.after(3)
    cluster.server_version = (1, 34)
    cluster.settle()
    assert cluster.condition("Available") == ("True", "Available")
    assert list(cluster.replicas().values()) == [1]


def test_the_model_is_there_when_its_server_has_been_started() -> None:
    cluster = a_cluster()
    cluster.run(cluster.serving, ready=False, server=waiting("ContainerCreating"))
    cluster.settle()
    assert cluster.condition("ModelAvailable") == ("False", "Downloading")
    assert message(cluster, "ModelAvailable") == f"The node is downloading {URI}."
    cluster.run(cluster.serving, ready=False, server=running())
    cluster.settle()
    assert cluster.condition("ModelAvailable") == ("True", "Downloaded")
    assert cluster.condition("Ready") == ("False", "Loading")


@pytest.mark.parametrize(
    ("server", "reason", "words"),
    [
        (
            waiting("ErrImagePull", f'failed to pull and unpack image "{REFERENCE}": not found'),
            "ImagePullFailed",
            f"The model's image {REFERENCE} cannot be pulled: failed to pull and unpack",
        ),
        (
            waiting("ImagePullBackOff", f'Back-off pulling image "{REFERENCE}": ErrImagePull: 401 Unauthorized'),
            "ImagePullFailed",
            "cannot be pulled: 401 Unauthorized. Correct spec.model.storageUri. If the registry wants credentials",
        ),
        (
            waiting("ImagePullBackOff", 'Back-off pulling image "runtime:cpu": ErrImagePull: no such host'),
            "ImagePullFailed",
            "The server's image runtime:cpu cannot be pulled: no such host.",
        ),
        (
            waiting("CreateContainerError", 'failed to generate spec: failed to mkdir "": mkdir : no such file'),
            "VolumeNotMounted",
            "cannot mount the model's image: failed to generate spec",
        ),
        (
            waiting("CreateContainerConfigError", "Path is empty &{}"),
            "VolumeNotMounted",
            "Image volumes need a kubelet of Kubernetes 1.35, and containerd 2.1 or CRI-O 1.33.",
        ),
        (
            waiting("CreateContainerError", "failed to mount image volume: failed to unpack image volume: x"),
            "VolumeNotMounted",
            "cannot mount the model's image: failed to mount image volume",
        ),
        (waiting("CreateContainerError", "no such device"), "CreateContainerError", "cannot start the server: no such"),
    ],
)
def test_a_node_that_cannot_pull_or_mount_the_image_says_so_with_a_remedy(server: Raw, reason: str, words: str) -> None:
    cluster = a_cluster()
    cluster.run(revision_of(cluster.deployments[0]), ready=False, server=server)
    cluster.settle()
    assert cluster.condition("Ready") == ("False", reason)
    assert words in message(cluster, "Ready")
    assert cluster.condition("ModelAvailable")[0] == "False"
