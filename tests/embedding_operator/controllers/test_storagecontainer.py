"""A storage container: its own status, and the services that a change of it concerns, and no others."""

from typing import Any

import pytest

from embedding_operator.constants import API_VERSION
from embedding_operator.errors import Denied
from support.caches import a_cache, a_cluster_cache
from support.controlled import Controlled, controlled

CLUSTER = "ClusterStorageContainer"


def create(it: Controlled, name: str, *prefixes: str, kind: str = CLUSTER, **fields: Any) -> dict[str, Any]:
    meta = {"name": name, **({} if kind == CLUSTER else {"namespace": "default"})}
    spec = {"container": {}, "supportedUriFormats": [{"prefix": each} for each in prefixes]}
    return it.api.create({"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec, **fields})


async def test_it_gets_a_status_once() -> None:
    async with controlled() as it:
        create(it, "mirror", "hf://")
        await it.reconcile_storage(CLUSTER, "mirror")
        await it.reconcile_storage(CLUSTER, "mirror")
        assert it.written == [("update", "clusterstoragecontainers/status")]


async def test_an_operator_of_some_namespaces_leaves_the_status_of_cluster_wide_ones_to_others() -> None:
    async with controlled(writes_cluster_status=False) as it:
        create(it, "mirror", "hf://")
        create(it, "own", "hf://", kind="StorageContainer")
        await it.reconcile_storage(CLUSTER, "mirror")
        await it.reconcile_storage("StorageContainer", "own", "default")
        assert it.written == [("update", "storagecontainers/status")]


async def test_the_services_whose_models_it_would_fetch_are_reconciled_and_no_others() -> None:
    async with controlled() as it:
        it.create_service("mine", model={"storageUri": "hf://a/b"})
        it.create_service("other", model={"storageUri": "s3://a/b"})
        create(it, "mirror", "hf://")
        assert await it.reconcile_storage(CLUSTER, "mirror") == {"mine"}


async def test_so_are_those_that_it_fetched_for_and_does_no_more() -> None:
    async with controlled() as it:
        it.create_service("mine", model={"storageUri": "hf://a/b"})
        mirror = create(it, "mirror", "hf://")
        await it.reconcile("mine")
        present = it.api.get("clusterstoragecontainers", "mirror") or {}
        it.api.replace({**present, "spec": {**mirror["spec"], "supportedUriFormats": [{"prefix": "s3://"}]}})
        assert await it.reconcile_storage(CLUSTER, "mirror") == {"mine"}


async def test_and_those_that_it_fetched_for_when_it_is_deleted() -> None:
    async with controlled() as it:
        it.create_service("mine", model={"storageUri": "hf://a/b"})
        it.create_service("other", model={"storageUri": "s3://a/b"})
        create(it, "mirror", "hf://")
        await it.reconcile("mine")
        await it.reconcile("other")
        it.api.delete("clusterstoragecontainers", "mirror")
        assert await it.reconcile_storage(CLUSTER, "mirror") == {"mine"}


async def test_services_that_name_it_are_concerned_whatever_its_formats() -> None:
    async with controlled() as it:
        it.create_service("names-it", model={"storageUri": "hf://a/b", "storageContainerName": "mirror"})
        it.create_service("names-another", model={"storageUri": "s3://a/b", "storageContainerName": "x"})
        create(it, "mirror", "s3://")
        assert await it.reconcile_storage(CLUSTER, "mirror") == {"names-it"}


@pytest.mark.parametrize(
    ("kind", "namespace", "concerned"),
    [(CLUSTER, None, {"own", "theirs", "shared"}), ("StorageContainer", "default", {"own"})],
)
async def test_caches_within_its_reach_are_reconciled(kind: str, namespace: str | None, concerned: set[str]) -> None:
    async with controlled() as it:
        it.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
        for cache, metadata in (
            (a_cache(), {"name": "own", "namespace": "default"}),
            (a_cache(), {"name": "theirs", "namespace": "elsewhere"}),
            (a_cluster_cache(), {"name": "shared"}),
        ):
            it.api.create({**cache, "metadata": metadata})
        create(it, "mirror", "hf://", kind=kind)
        assert await it.reconcile_storage(kind, "mirror", namespace) == concerned


async def test_the_services_that_it_concerns_are_reconciled_although_its_status_cannot_be_written() -> None:
    async with controlled() as it:
        it.create_service("mine", model={"storageUri": "hf://a/b"})
        create(it, "mirror", "hf://")
        it.api.faults.fail("update", "clusterstoragecontainers/status", 403)
        with pytest.raises(Denied):
            await it.reconcile_storage(CLUSTER, "mirror")
        assert [key.name for key, _ in it.added] == ["mine"]


async def test_one_that_loses_to_a_longer_prefix_affects_no_service() -> None:
    async with controlled() as it:
        it.create_service("mine", model={"storageUri": "hf://a/b"})
        create(it, "longer", "hf://a/")
        create(it, "shorter", "hf://")
        await it.reconcile("mine")
        assert await it.reconcile_storage(CLUSTER, "shorter") == set()


async def test_a_namespaced_one_concerns_its_namespace_alone() -> None:
    async with controlled() as it:
        it.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "elsewhere"}})
        it.create_service("mine", model={"storageUri": "hf://a/b"})
        other = it.create_service("other", model={"storageUri": "hf://a/b"})
        it.api.delete("embeddingservices", "other")
        it.api.create(
            {**other, "metadata": {"name": "other", "namespace": "elsewhere"}},
        )
        create(it, "own", "hf://", kind="StorageContainer")
        assert await it.reconcile_storage("StorageContainer", "own", "default") == {"mine"}


@pytest.mark.parametrize("number", [1, 250])
async def test_many_services_are_all_found(number: int) -> None:
    async with controlled() as it:
        for index in range(number):
            it.create_service(f"s-{index}")
        create(it, "mirror", "hf://")
        assert len(await it.reconcile_storage(CLUSTER, "mirror")) == number
