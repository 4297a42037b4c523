"""What pods report, in the status: how far the download is, and the backend that auto selected."""

from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.core.downloads import JUDGED_AFTER
from embedding_operator.core.plan import Plan
from embedding_operator.core.questions import Answer
from embedding_operator.resources.service_status import EmbeddingServiceStatus
from embedding_runtime.contract import BackendName, DownloadProgress, SelectedBackend
from support.builders import COMMIT, MINILM, NOW, Raw, a_service, ended, running
from support.pure_cluster import PureCluster

GB, MB = 10**9, 10**6
DOWNLOADING: dict[str, Any] = {"ready": False, "initializer": running(), "server": {}}
EXACT = SelectedBackend(backend=BackendName.VLLM, backend_reason="vLLM serves this kind of model exactly")
NO_CLASS = SelectedBackend(backend=BackendName.HUGGINGFACE, backend_reason="vLLM has no class of its own for X")


def so_far(done: int, total: int = 1300 * MB, rate: int = 90 * MB) -> DownloadProgress:
    return DownloadProgress(done_bytes=done, total_bytes=total, bytes_per_second=rate)


def a_cluster(*, count: int = 1, spec: Raw | None = None, **pods: Any) -> PureCluster:
    cluster = PureCluster(a_service(replicas=count, **(spec or {})))
    cluster.settle()
    cluster.run(cluster.serving, count=count, **pods)
    cluster.settle()
    return cluster


def told(cluster: PureCluster, *answers: Answer) -> Plan:
    """The plan after these answers."""
    cluster.report(*answers)
    return cluster.reconcile()


def download(cluster: PureCluster) -> Raw | None:
    EmbeddingServiceStatus.model_validate(cluster.status)
    found: Raw | None = cluster.status["model"].get("download")
    return found


def message(cluster: PureCluster, kind: str) -> str:
    return str(next(each["message"] for each in cluster.status["conditions"] if each["type"] == kind))


def times(cluster: PureCluster) -> list[str]:
    return [each["lastTransitionTime"] for each in cluster.status["conditions"]]


def test_the_status_has_the_progress_while_a_pod_downloads_and_not_afterwards() -> None:
    cluster = a_cluster(**DOWNLOADING)
    assert download(cluster) is None
    told(cluster, so_far(585 * MB))
    assert download(cluster) == {
        "bytes": 585 * MB,
        "totalBytes": 1300 * MB,
        "percent": 45,
        "bytesPerSecond": 90 * MB,
        "secondsLeft": 8,
    }
    cluster.run(cluster.serving, ready=False, initializer=ended(), server=running())
    told(cluster, so_far(1300 * MB))
    assert download(cluster) is None


def test_the_messages_have_it_and_neither_reasons_nor_transition_times_nor_events_change() -> None:
    cluster = a_cluster(**DOWNLOADING)
    words = f"The built-in initializer is downloading {MINILM}"
    assert message(cluster, "Ready") == f"{words}."
    before, reasons = times(cluster), [each["reason"] for each in cluster.status["conditions"]]
    for done, told_as in (
        (585, "45% of 1.3 GB, 90 MB/s, 8 seconds left"),
        (1287, "99% of 1.3 GB, 90 MB/s, 1 second left"),
    ):
        cluster.now += timedelta(seconds=5)
        plan = told(cluster, so_far(done * MB))
        assert [message(cluster, each) for each in ("Ready", "Reconciling", "ModelAvailable")] == [
            f"{words}: {told_as}."
        ] * 3
        assert plan.events == ()
        assert plan.writes == ()
        assert times(cluster) == before
        assert [each["reason"] for each in cluster.status["conditions"]] == reasons
    assert cluster.condition("Reconciling") == ("True", "Downloading"), "kstatus: InProgress"
    assert cluster.condition("Stalled")[0] == "False"


def test_of_several_pods_the_least_advanced_counts_for_status_and_message() -> None:
    cluster = a_cluster(count=3, **DOWNLOADING)
    told(cluster, so_far(1200 * MB), so_far(13 * MB), so_far(700 * MB))
    assert (download(cluster) or {})["percent"] == 1
    assert "1% of 1.3 GB" in message(cluster, "Ready")


def test_a_size_that_is_not_known_yet_has_no_percentage() -> None:
    cluster = a_cluster(**DOWNLOADING)
    told(cluster, so_far(5 * MB, total=0))
    assert download(cluster) == {"bytes": 5 * MB, "bytesPerSecond": 90 * MB}


def test_while_a_candidate_downloads_the_status_has_its_progress_and_the_serving_model() -> None:
    cluster = a_cluster(initializer=ended(0, '{"weights_bytes": 9, "revision": "c9745ed1"}'))
    cluster.after(3)
    cluster.change(model={"storageUri": f"hf://example/other:{COMMIT}"})
    cluster.settle()
    cluster.run(cluster.status["revision"]["candidate"], **DOWNLOADING)
    told(cluster, EXACT, so_far(650 * MB))
    assert cluster.status["model"]["revision"] == "c9745ed1"
    assert (download(cluster) or {})["percent"] == 50


def test_a_rejected_spec_does_not_keep_the_progress_of_an_earlier_moment() -> None:
    cluster = a_cluster(**DOWNLOADING)
    told(cluster, so_far(585 * MB))
    cluster.change(args=["--nonsense"])
    cluster.settle()
    assert cluster.status["model"] == {"name": "embedding-model"}


def a_slow_cluster(*, age: timedelta = JUDGED_AFTER) -> PureCluster:
    since = {"state": {"running": {"startedAt": (NOW - age).isoformat()}}}
    return a_cluster(ready=False, initializer={**running(), **since}, server={})


def test_a_slow_download_is_one_event_however_often_it_is_slow() -> None:
    cluster = a_slow_cluster()
    (event,) = told(cluster, so_far(0, 130 * GB, 9 * MB)).events
    assert (event.type, event.reason) == ("Warning", "SlowDownload")
    assert event.message.startswith(
        "The download of the model is slow: 0% of 130 GB, 9.0 MB/s, 4 hours left; it takes longer than "
        "spec.rollout.progressDeadlineSeconds (900)."
    )
    assert (download(cluster) or {})["slow"] is True
    for rate in (900 * MB, 9 * MB, 0):
        assert told(cluster, so_far(GB, 130 * GB, rate)).events == ()
        assert (download(cluster) or {})["slow"] is True


def test_the_next_download_may_be_reported_as_slow_again() -> None:
    cluster = a_slow_cluster()
    told(cluster, so_far(0, 130 * GB, 9 * MB))
    told(cluster)
    assert [each.reason for each in told(cluster, so_far(0, 130 * GB, 9 * MB)).events] == ["SlowDownload"]


def test_a_download_from_which_nothing_arrives_is_judged_although_no_answer_changes() -> None:
    cluster = a_slow_cluster(age=timedelta(seconds=10))
    plan = told(cluster, so_far(0, GB, 0))
    assert plan.events == ()
    assert plan.requeue_after is not None
    assert timedelta(seconds=20) <= plan.requeue_after < timedelta(seconds=21)
    cluster.now += plan.requeue_after
    assert [each.reason for each in cluster.reconcile().events] == ["SlowDownload"]


def test_the_progress_deadline_of_the_service_is_the_one_that_counts() -> None:
    cluster = a_slow_cluster()
    cluster.change(rollout={"progressDeadlineSeconds": 86400})
    cluster.settle()
    assert told(cluster, so_far(0, 130 * GB, 9 * MB)).events == ()


def backend(cluster: PureCluster) -> tuple[str, str]:
    return cluster.status["backend"], cluster.status["backendReason"]


URL = "http://embedding-model.default.svc.cluster.local"
AUTO = "The backend is auto: vllm if it serves the model exactly, else huggingface."
UNKNOWN = ("auto", f"{AUTO} GET {URL}/v1/models reports the choice and its reason (backend, backend_reason).")
REPORTED = ("vllm", "vLLM serves this kind of model exactly.")


def test_until_a_server_reports_its_backend_the_status_names_the_way_to_ask_for_it() -> None:
    cluster = a_cluster()
    assert backend(cluster) == UNKNOWN
    told(cluster, EXACT)
    assert backend(cluster) == REPORTED


@pytest.mark.parametrize("spec", [{"backend": "huggingface"}, {"args": ["--backend=huggingface"]}])
def test_a_backend_that_the_spec_names_is_the_one_whatever_pods_report(spec: Raw) -> None:
    cluster = a_cluster(spec=spec)
    told(cluster, EXACT)
    assert backend(cluster)[0] == "huggingface"


def test_servers_that_selected_different_backends_are_told_apart() -> None:
    cluster = a_cluster(count=2)
    told(cluster, EXACT, NO_CLASS)
    reason = "huggingface (vLLM has no class of its own for X); vllm (vLLM serves this kind of model exactly)"
    assert backend(cluster) == ("auto", f"The servers selected different backends: {reason}.")


def test_a_new_leader_keeps_what_an_earlier_one_was_told_until_it_is_told_itself() -> None:
    cluster = a_cluster()
    told(cluster, EXACT)
    told(cluster)
    assert backend(cluster) == REPORTED


def test_what_servers_reported_for_an_earlier_spec_is_not_kept_for_another() -> None:
    cluster = a_cluster(spec={"backend": "vllm"})
    assert backend(cluster) == ("vllm", "spec.backend is vllm.")
    cluster.change(backend=None)
    cluster.settle()
    assert backend(cluster) == UNKNOWN


def test_a_candidate_s_backend_counts_once_it_serves() -> None:
    cluster = a_cluster()
    cluster.after(3)
    told(cluster, EXACT)
    cluster.change(model={"storageUri": f"hf://example/other:{COMMIT}"})
    cluster.settle()
    told(cluster, EXACT)
    cluster.run(cluster.status["revision"]["candidate"])
    told(cluster, EXACT, NO_CLASS)
    assert backend(cluster) == REPORTED
    for _ in range(4):
        cluster.now += timedelta(seconds=5)
        cluster.reconcile()
    assert backend(cluster) == ("huggingface", "vLLM has no class of its own for X.")
