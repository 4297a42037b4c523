from collections import Counter

import pytest

from bench.operator.counts import Counts, classify

CUSTOM = "/apis/serving.embeddings.dev/v1alpha1"


@pytest.mark.parametrize(
    ("method", "path", "request_"),
    [
        ("GET", f"{CUSTOM}/embeddingservices", "list embeddingservices"),
        ("GET", f"{CUSTOM}/namespaces/a/embeddingservices", "list embeddingservices"),
        ("GET", f"{CUSTOM}/namespaces/a/embeddingservices/x", "get embeddingservices"),
        ("PUT", f"{CUSTOM}/namespaces/a/embeddingservices/x/status", "update embeddingservices/status"),
        ("PATCH", f"{CUSTOM}/clusterstoragecontainers/x", "patch clusterstoragecontainers"),
        ("PATCH", "/apis/apps/v1/namespaces/a/deployments/x", "patch deployments"),
        ("POST", "/api/v1/namespaces/a/events", "create events"),
        ("DELETE", "/api/v1/namespaces/a/services/x", "delete services"),
        ("DELETE", "/api/v1/namespaces/a/services", "deletecollection services"),
        ("GET", "/api/v1/pods/", "list pods"),
        ("GET", "/api/v1/namespaces", "list namespaces"),
        ("GET", "/api/v1/namespaces/a", "get namespaces"),
        ("GET", "/api", "get discovery"),
        ("GET", "/apis/apps/v1", "get discovery"),
        ("GET", "/version", "get discovery"),
    ],
)
def test_a_request_is_named_by_verb_and_resource(method: str, path: str, request_: str) -> None:
    assert classify(method, path, {}) == request_


@pytest.mark.parametrize("value", ["1", "true"])
def test_a_list_that_goes_on_is_a_watch(value: str) -> None:
    assert classify("GET", "/api/v1/pods", {"watch": value}) == "watch pods"


def counts(**requests: int) -> Counts:
    return Counts(Counter({name.replace("__", " "): n for name, n in requests.items()}))


def test_the_lease_counts_neither_as_a_write_nor_as_a_read() -> None:
    found = counts(get__leases=3, update__leases=3, create__leases=1)

    assert (found.writes, found.gets, found.lists) == (0, 0, 0)


def test_events_and_status_updates_are_writes() -> None:
    assert counts(create__events=2, patch__deployments=3, delete__services=1).writes == 6


def test_watches_are_neither_reads_nor_writes() -> None:
    assert counts(watch__pods=4).works == 0


def test_reads_of_one_object_and_lists_count_apart() -> None:
    found = counts(get__deployments=2, list__deployments=5)

    assert (found.gets, found.lists) == (2, 5)


@pytest.mark.parametrize("request_", ["watch pods", "update leases", "get leases"])
def test_an_operator_that_only_watches_and_holds_its_lease_is_at_rest(request_: str) -> None:
    found = Counts()
    found.note(request_)

    assert found.last is None


def test_the_latest_request_of_another_kind_is_remembered() -> None:
    found = Counts()
    found.note("list pods")

    assert found.last is not None


def test_the_difference_of_two_moments_has_what_came_between_them() -> None:
    before = Counts(Counter({"list pods": 1}), Counter({"404": 1}), sent=10, received=100)
    after = Counts(
        Counter({"list pods": 3, "get pods": 1}), Counter({"404": 1, "409": 2}), sent=15, received=300, last=7
    )

    assert after.since(before) == Counts(Counter({"list pods": 2, "get pods": 1}), Counter({"409": 2}), 5, 200, 7)


def test_counts_survive_json() -> None:
    found = Counts(Counter({"list pods": 3}), Counter({"409": 2}), 1, 2, 3.5)

    assert Counts.from_json(found.to_json()) == found
