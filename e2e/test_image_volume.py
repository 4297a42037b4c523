"""An image as a volume: nodes with a new enough container runtime serve a model from it, and others say so."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from kube import Service, apply, get, sh
from services import a_service, with_token
from vectors import vector_of

from support.fake_hub import packaged_minilm
from support.modelcar import pushed

_SUPPORT = {"containerd": (2, 1), "cri-o": (1, 33)}


def can_mount_images() -> bool:
    """Whether the cluster's nodes can, by the versions of their container runtimes."""
    versions = [each["status"]["nodeInfo"]["containerRuntimeVersion"] for each in get("nodes")["items"]]
    found = [re.match(r"(\S+)://v?(\d+)\.(\d+)", each) for each in versions]
    return all(match and (int(match[2]), int(match[3])) >= _SUPPORT[match[1]] for match in found)


@pytest.fixture
def service(namespace: str) -> Iterator[Service]:
    """One whose model is an image volume."""
    if sh("e2e/cluster/cluster driver").strip() != "native":
        pytest.skip("nodes pull from a registry on this machine's loopback address")
    with pushed(packaged_minilm()) as uri:
        apply(without_token(a_service(namespace, model={"storageUri": uri, "imageVolume": True})))
        yield Service("embedding-model", namespace)
        sh(f"kubectl delete embeddingservices --all -n {namespace}")


def without_token(raw: dict[str, Any]) -> dict[str, Any]:
    """No token is for a registry: it would be refused."""
    del raw["spec"]["model"]["tokenSecretRef"]
    return raw


def test_the_api_server_keeps_the_volume(service: Service) -> None:
    service.says("Accepted", "Accepted")
    sh(f"kubectl wait --for=create deployment -l {service.pods} -n {service.namespace} --timeout=300s")
    [deployment] = get(f"deployments -l {service.pods}", service.namespace)["items"]
    pod = deployment["spec"]["template"]["spec"]
    [volume] = [each for each in pod["volumes"] if each["name"] == "model"]
    assert volume["image"]["reference"].startswith("127.0.0.1:")
    assert "initContainers" not in pod


def test_a_node_that_cannot_mount_images_is_named_in_words(service: Service) -> None:
    if can_mount_images():
        pytest.skip("the nodes can")
    message = service.says("VolumeNotMounted")
    assert "cannot mount the model's image" in message
    assert "Remove spec.model.imageVolume, or upgrade the node." in message


def test_a_model_is_served_from_an_image(service: Service) -> None:
    if not can_mount_images():
        pytest.skip("image volumes need containerd 2.1 or CRI-O 1.33")
    service.is_ready()
    with_token(service.namespace)
    downloaded = a_service(service.namespace)
    downloaded["metadata"]["name"] = "downloaded"
    apply(downloaded)
    other = Service("downloaded", service.namespace)
    other.is_ready()
    assert vector_of(service) == vector_of(other)
    status = get(f"embeddingservice {service.name}", service.namespace)["status"]
    assert status["model"]["revision"].startswith("sha256:")
