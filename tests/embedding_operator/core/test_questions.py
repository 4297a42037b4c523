"""Which pods are asked what: those that download, and the ready servers of the serving revision where auto selects."""

from typing import Any

import pytest

from embedding_operator.core.questions import Question
from embedding_runtime.contract import DownloadProgress, SelectedBackend
from support.builders import COMMIT, Raw, a_service, ended, running
from support.pure_cluster import PureCluster

DOWNLOADING: dict[str, Any] = {"ready": False, "initializer": running(), "server": {}}


def a_cluster(*, count: int = 1, spec: Raw | None = None, **pods: Any) -> PureCluster:
    cluster = PureCluster(a_service(replicas=count, **(spec or {})))
    cluster.settle()
    cluster.run(cluster.serving, count=count, **pods)
    cluster.settle()
    return cluster


def asked(cluster: PureCluster) -> frozenset[Question]:
    return cluster.reconcile().questions


def urls(cluster: PureCluster) -> list[str]:
    return sorted(each.url for each in asked(cluster))


def test_pods_that_download_are_asked_for_their_progress_again_and_again() -> None:
    cluster = a_cluster(count=2, **DOWNLOADING)
    assert urls(cluster) == ["http://10.0.0.1:8090/progress", "http://10.0.0.2:8090/progress"]
    assert {(each.expects, each.repeats) for each in asked(cluster)} == {(DownloadProgress, True)}


def test_a_ready_server_is_asked_once_which_backend_auto_selected() -> None:
    cluster = a_cluster()
    assert urls(cluster) == ["http://10.0.0.1:8080/backend"]
    assert {(each.expects, each.repeats) for each in asked(cluster)} == {(SelectedBackend, False)}


@pytest.mark.parametrize("spec", [{"backend": "vllm"}, {"args": ["--backend=huggingface"]}])
def test_where_the_spec_names_the_backend_no_server_is_asked(spec: Raw) -> None:
    assert urls(a_cluster(spec=spec)) == []


def test_a_pod_that_neither_downloads_nor_serves_is_asked_nothing() -> None:
    assert urls(a_cluster(ready=False, initializer=ended(), server=running())) == []


def test_a_service_that_is_rejected_has_nothing_asked() -> None:
    cluster = a_cluster(**DOWNLOADING)
    cluster.change(args=["--nonsense"])
    assert urls(cluster) == []


def test_only_the_candidate_is_asked_for_its_progress_and_only_the_serving_revision_for_its_backend() -> None:
    cluster = a_cluster()
    cluster.change(model={"storageUri": f"hf://example/other:{COMMIT}"})
    cluster.settle()
    cluster.run(cluster.status["revision"]["candidate"], **DOWNLOADING)
    assert urls(cluster) == ["http://10.0.0.1:8080/backend", "http://10.0.0.1:8090/progress"]


def test_a_container_that_was_restarted_is_another_one_to_ask() -> None:
    cluster = a_cluster(server=running(ready=True))
    before = asked(cluster)
    (pod,) = cluster.pods.values()
    pod["status"]["containerStatuses"][0]["restartCount"] = 1
    assert not before & asked(cluster)


def test_pods_of_other_owners_are_never_asked() -> None:
    cluster = a_cluster(**DOWNLOADING)
    (pod,) = cluster.pods.values()
    pod["metadata"]["ownerReferences"][0]["name"] = "somebody-elses-hash"
    assert urls(cluster) == []


@pytest.mark.parametrize(
    ("ip", "host"),
    [
        ("10.0.0.9", "10.0.0.9"),
        ("fd00::9", "[fd00::9]"),
        ("127.0.0.1", None),
        ("::1", None),
        ("169.254.169.254", None),
        ("fe80::1", None),
        ("fe80::1%eth0", None),
        ("0.0.0.0", None),
        ("224.0.0.1", None),
        ("::ffff:127.0.0.1", None),
        ("::ffff:169.254.169.254", None),
        ("evil.example", None),
        ("10.0.0.9/x", None),
        ("", None),
        (None, None),
    ],
)
def test_a_pod_is_asked_at_its_own_address_and_nowhere_else(ip: str | None, host: str | None) -> None:
    cluster = a_cluster(**DOWNLOADING)
    (pod,) = cluster.pods.values()
    pod["status"]["podIP"] = ip
    assert urls(cluster) == ([f"http://{host}:8090/progress"] if host else [])
