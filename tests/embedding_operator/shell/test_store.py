"""The store is like the API server was last told to be, never older."""

from typing import Any

import pytest

from embedding_operator.constants import SERVICE_LABEL
from embedding_operator.kinds import DEPLOYMENT, EMBEDDING_SERVICE, POD, SERVICE, STORAGE_CONTAINER, Kind
from embedding_operator.shell.store import Change, ChangeType, Store


def an_object(
    kind: Kind = DEPLOYMENT,
    name: str = "a",
    version: int = 1,
    *,
    namespace: str = "n",
    owner: str | None = None,
    service: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": name, "namespace": namespace, "uid": f"uid-{name}", "resourceVersion": str(version)}
    if owner:
        meta["ownerReferences"] = [{"kind": "EmbeddingService", "name": "s", "uid": owner, "controller": True}]
    if service:
        meta["labels"] = {SERVICE_LABEL: service}
    meta |= fields.pop("metadata", {})
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": meta, **fields}


def an_embedding_service(name: str = "s", version: int = 1, generation: int = 1, **fields: Any) -> dict[str, Any]:
    return an_object(EMBEDDING_SERVICE, name, version, metadata={"generation": generation}, **fields)


def names(objects: list[dict[str, Any]]) -> list[str]:
    return [each["metadata"]["name"] for each in objects]


class Told:
    """A store, and the changes that it told."""

    def __init__(self) -> None:
        self.changes: list[Change] = []
        self.store = Store(self.changes.append)

    def news(self) -> list[tuple[str, str, bool]]:
        """Since it was last asked: type, name, and whether it is a user's."""
        told = [(change.type.value, change.name, change.is_users) for change in self.changes]
        self.changes.clear()
        return told


def test_what_was_put_in_comes_out_the_same() -> None:
    store, obj = Store(), an_object(spec={"replicas": 2, "text": "ü"})
    store.upsert(DEPLOYMENT, obj)
    assert store.get(DEPLOYMENT, "n", "a") == obj
    assert store.get(DEPLOYMENT, "n", "b") is None


def test_what_comes_out_is_the_caller_s_own() -> None:
    store = Store()
    store.upsert(DEPLOYMENT, an_object(spec={"replicas": 2}))
    taken = store.get(DEPLOYMENT, "n", "a")
    assert taken is not None
    taken["spec"]["replicas"] = 3
    assert store.get(DEPLOYMENT, "n", "a") == an_object(spec={"replicas": 2})


def test_children_are_found_by_their_controller_s_uid_and_not_by_their_label() -> None:
    store = Store()
    store.upsert(DEPLOYMENT, an_object(name="mine", owner="u1", service="s"))
    store.upsert(SERVICE, an_object(SERVICE, "also-mine", owner="u1"))
    store.upsert(SERVICE, an_object(SERVICE, "copied-labels", service="s"))
    store.upsert(DEPLOYMENT, an_object(name="former", owner="u0", service="s"))
    assert names(store.children("u1")) == ["mine", "also-mine"]
    assert sorted(names(store.others("n", "s", "u1"))) == ["copied-labels", "former"]


def test_pods_are_found_by_their_label() -> None:
    store = Store()
    store.upsert(POD, an_object(POD, "p", service="s"))
    store.upsert(POD, an_object(POD, "q", service="other"))
    store.upsert(POD, an_object(POD, "r", service="s", namespace="elsewhere"))
    assert names(store.pods("n", "s")) == ["p"]
    assert store.others("n", "s", "u1") == []


@pytest.mark.parametrize(("first", "second", "kept"), [(9, 10, 10), (10, 9, 10)])
def test_the_newer_version_is_kept_in_whichever_order_they_come(first: int, second: int, kept: int) -> None:
    store = Store()
    for version in (first, second):
        store.upsert(DEPLOYMENT, an_object(version=version, spec={"of": version}))
    assert store.get(DEPLOYMENT, "n", "a") == an_object(version=kept, spec={"of": kept})


def test_versions_that_are_no_numbers_count_in_the_order_they_come() -> None:
    store = Store()
    for version in ("b", "a"):
        store.upsert(DEPLOYMENT, an_object(metadata={"resourceVersion": version}))
    stored = store.get(DEPLOYMENT, "n", "a")
    assert stored is not None
    assert stored["metadata"]["resourceVersion"] == "a"


def test_a_change_that_no_plan_reads_is_not_reported_and_its_version_is_kept() -> None:
    told = Told()
    told.store.upsert(DEPLOYMENT, an_object(version=1))
    told.news()
    told.store.upsert(DEPLOYMENT, an_object(version=2, metadata={"managedFields": [{"manager": "embedding-operator"}]}))
    assert told.news() == []
    stored = told.store.get(DEPLOYMENT, "n", "a")
    assert stored is not None
    assert stored["metadata"]["resourceVersion"] == "2"


def test_a_user_s_change_is_a_new_service_or_a_new_generation_and_no_status() -> None:
    told = Told()
    told.store.upsert(EMBEDDING_SERVICE, an_embedding_service(version=1))
    told.store.upsert(EMBEDDING_SERVICE, an_embedding_service(version=2, status={"replicas": 1}))
    told.store.upsert(EMBEDDING_SERVICE, an_embedding_service(version=3, generation=2))
    assert told.news() == [("Added", "s", True), ("Modified", "s", False), ("Modified", "s", True)]


def test_the_answer_to_our_own_write_is_kept_and_neither_it_nor_its_echo_is_reported() -> None:
    told = Told()
    ours = an_embedding_service(version=2, status={"replicas": 1})
    told.store.upsert(EMBEDDING_SERVICE, an_embedding_service(version=1))
    told.news()
    told.store.upsert(EMBEDDING_SERVICE, ours, is_own=True)
    told.store.upsert(EMBEDDING_SERVICE, ours)
    assert told.news() == []
    assert told.store.get(EMBEDDING_SERVICE, "n", "s") == ours


def test_a_deletion_is_reported_with_the_service_that_it_concerns() -> None:
    told = Told()
    child = an_object(owner="u1", service="s")
    told.store.upsert(DEPLOYMENT, child)
    told.changes.clear()
    told.store.deleted(DEPLOYMENT, {**child, "metadata": {**child["metadata"], "resourceVersion": "2"}})
    assert told.changes == [Change(ChangeType.DELETED, DEPLOYMENT, "n", "a", service="s")]
    assert told.store.children("u1") == []
    assert not told.store._children
    assert not told.store._labelled


def test_the_deletion_of_a_former_object_of_that_name_is_no_news() -> None:
    told = Told()
    told.store.upsert(DEPLOYMENT, an_object(version=5))
    told.news()
    told.store.deleted(DEPLOYMENT, an_object(version=6, metadata={"uid": "former"}))
    told.store.deleted(DEPLOYMENT, an_object(version=4))
    assert told.news() == []
    assert told.store.has(DEPLOYMENT, "n", "a")


def test_what_a_list_does_not_have_was_deleted_unless_it_came_later() -> None:
    told = Told()
    for name, version in (("gone", 1), ("stays", 2), ("made-meanwhile", 9)):
        told.store.upsert(DEPLOYMENT, an_object(name=name, version=version))
    told.news()
    told.store.replace(DEPLOYMENT, [an_object(name="stays", version=2)], version="5")
    assert told.news() == [("Deleted", "gone", False)]
    assert sorted(names(told.store.all(DEPLOYMENT))) == ["made-meanwhile", "stays"]


def test_a_list_of_one_namespace_says_nothing_of_another() -> None:
    store = Store()
    store.upsert(DEPLOYMENT, an_object(name="a", namespace="n"))
    store.upsert(DEPLOYMENT, an_object(name="b", namespace="m"))
    store.replace(DEPLOYMENT, [], version="5", namespace="n")
    assert names(store.all(DEPLOYMENT)) == ["b"]


def test_an_object_that_changes_hands_or_labels_is_found_under_the_new_ones_alone() -> None:
    told = Told()
    told.store.upsert(DEPLOYMENT, an_object(version=1, owner="u1", service="s"))
    told.changes.clear()
    told.store.upsert(DEPLOYMENT, an_object(version=2, owner="u2", service="t"))
    assert told.store.children("u1") == told.store.others("n", "s", "") == []
    assert names(told.store.children("u2")) == ["a"]
    assert {change.service for change in told.changes} == {"s", "t"}  # both services are concerned


def test_services_say_where_their_model_is_from_without_being_parsed() -> None:
    store = Store()
    spec = {"model": {"storageUri": "s3://b/m", "storageContainerName": "mirror"}}
    ready = {"type": "Ready", "status": "False", "reason": "Loading"}
    status = {"storageContainer": {"kind": "StorageContainer", "name": "mirror"}, "conditions": [ready]}
    store.upsert(EMBEDDING_SERVICE, an_embedding_service(spec=spec, status=status))
    (entry,) = store.services()
    assert (entry.uri, entry.storage_container, entry.fetched_by) == (
        "s3://b/m",
        "mirror",
        ("StorageContainer", "mirror"),
    )
    assert entry.ready == ("False", "Loading")


@pytest.mark.parametrize("spec", [None, {}, {"model": None}, {"model": {}}])
def test_a_service_that_no_api_server_validated_is_stored_too(spec: Any) -> None:
    store = Store()
    store.upsert(EMBEDDING_SERVICE, an_embedding_service(spec=spec))
    assert store.services()[0].uri == ""


def test_the_version_of_a_kind_changes_with_its_objects_alone() -> None:
    store = Store()
    before = store.version(STORAGE_CONTAINER)
    store.upsert(DEPLOYMENT, an_object())
    assert store.version(STORAGE_CONTAINER) == before
    store.upsert(STORAGE_CONTAINER, an_object(STORAGE_CONTAINER))
    assert store.version(STORAGE_CONTAINER) != before


def test_an_object_like_the_first_takes_a_small_part_of_its_json() -> None:
    store = Store()
    for name in ("a", "b"):
        text = [f"{number} {number * number}" for number in range(200)]
        store.upsert(DEPLOYMENT, an_object(name=name, spec={"text": text}))
    assert len(store._objects["deployments"]["n", "b"].data) < 150
    assert store.get(DEPLOYMENT, "n", "b") == an_object(name="b", spec={"text": text})


def a_spec_that_mounts(path: str) -> dict[str, Any]:
    return {
        "volumes": [{"name": "model", "persistentVolumeClaim": {"claimName": "models"}}],
        "containers": [{"name": "server", "volumeMounts": [{"name": "model", "subPath": f"models/{path}"}]}],
    }


def test_what_a_deployment_or_a_pod_of_its_former_template_mounts_of_a_cache_is_known() -> None:
    store = Store()
    store.upsert(DEPLOYMENT, an_object(spec={"template": {"spec": a_spec_that_mounts("new")}}))
    store.upsert(POD, an_object(POD, spec=a_spec_that_mounts("old")))
    assert store.mounted("models", lambda _: True) == {"new", "old"}
    assert store.mounted("others", lambda _: True) == frozenset()


def test_what_is_mounted_in_another_namespace_does_not_count() -> None:
    store = Store()
    store.upsert(DEPLOYMENT, an_object(spec={"template": {"spec": a_spec_that_mounts("a")}}))
    assert store.mounted("models", lambda namespace: namespace != "n") == frozenset()


@pytest.mark.parametrize("path", ["a --capacity=1", "a,b", "A", "x" * 121, "..", "a\n"])
def test_what_no_job_reports_as_a_path_does_not_count_as_mounted(path: str) -> None:
    store = Store()
    store.upsert(DEPLOYMENT, an_object(spec={"template": {"spec": a_spec_that_mounts(path)}}))
    assert store.mounted("models", lambda _: True) == frozenset()
