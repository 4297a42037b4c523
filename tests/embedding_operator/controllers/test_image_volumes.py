"""Services whose model is an image volume, against the fake API server: its version is asked for, and decides."""

from typing import Any

import pytest

from embedding_operator.errors import FieldOverridden
from support.controlled import controlled

URI = f"oci://registry.example/minilm@sha256:{'0' * 64}"


async def test_a_service_without_an_image_volume_asks_for_no_version() -> None:
    async with controlled() as cluster:
        cluster.api.version = {}
        cluster.create_service(model={"storageUri": URI})
        await cluster.reconcile()
        assert len(cluster.api.list("deployments")) == 1


async def test_the_version_of_the_api_server_decides() -> None:
    async with controlled() as cluster:
        cluster.api.version["minor"] = "34"
        cluster.create_service(model={"storageUri": URI, "imageVolume": True})
        await cluster.reconcile()
        assert cluster.api.list("deployments") == []
        status = (cluster.api.get("embeddingservices", "s") or {})["status"]
        assert "the API server has version 1.34" in str(status["conditions"])


async def test_a_deployment_with_an_image_volume_is_written_once() -> None:
    async with controlled() as cluster:
        cluster.create_service(model={"storageUri": URI, "imageVolume": True})
        await cluster.reconcile()
        (before,) = cluster.api.list("deployments")
        await cluster.reconcile()
        assert cluster.api.list("deployments") == [before]


async def test_a_server_that_drops_the_volume_all_the_same_is_reported() -> None:
    """Its feature gate ImageVolume is off."""

    def dropped(obj: dict[str, Any]) -> dict[str, Any] | None:
        if obj["kind"] != "Deployment":
            return None
        pod = obj["spec"]["template"]["spec"]
        pod["volumes"] = [each for each in pod["volumes"] if "image" not in each]
        for container in pod["containers"]:
            container["volumeMounts"] = [each for each in container["volumeMounts"] if each["name"] != "model"]
        return obj

    async with controlled() as cluster:
        cluster.api.mutate(dropped)
        cluster.create_service(model={"storageUri": URI, "imageVolume": True})
        await cluster.reconcile()
        with pytest.raises(FieldOverridden, match=r"volumeMounts\[/mnt\] still has .* because a feature gate is off"):
            await cluster.reconcile()
