"""The parts of the status that pods report when they are asked: the download, and the backend that auto selected."""

from collections.abc import Iterator

from embedding_operator.core.downloads import Download, why_slow
from embedding_operator.core.objects import Raw
from embedding_operator.core.records import EventRecord
from embedding_operator.core.view import View
from embedding_operator.core.wording import sentence
from embedding_operator.resources.service_status import DownloadStatus
from embedding_runtime.contract import BackendName

__all__ = ["backend_status", "download_events", "download_status", "service_download"]


def download_status(download: Download | None, *, is_slow: bool = False) -> DownloadStatus | None:
    """A download in numbers; None: nothing is known of one."""
    if download is None:
        return None
    return DownloadStatus(
        bytes=download.progress.done_bytes,
        total_bytes=download.progress.total_bytes or None,
        percent=download.percent,
        bytes_per_second=download.progress.bytes_per_second,
        seconds_left=download.seconds_left,
        slow=is_slow or None,
    )


def service_download(view: View) -> DownloadStatus | None:
    """`model.download`, while the model is being downloaded."""
    is_slow = view.download is not None and bool(_recorded_download(view).get("slow") or _why_slow(view))
    return download_status(view.download, is_slow=is_slow)


def download_events(view: View) -> Iterator[EventRecord]:
    """A warning once per download, when it is found to be slow. The status records that."""
    why = _why_slow(view)
    if view.download is None or why is None or _recorded_download(view).get("slow"):
        return
    message = (
        f"The download of the model is slow: {view.download}; {why}. It goes on. Check the network between the node "
        "and the source of the model, or use a mirror or a volume near the cluster."
    )
    yield EventRecord("Warning", "SlowDownload", message)


def backend_status(view: View, url: str) -> dict[str, str]:
    """`backend` and `backendReason`. With auto, it is what the ready servers of the serving revision report."""
    resolved = view.resolved
    if resolved is None:
        return {}
    if resolved.serve.backend is not BackendName.AUTO:
        where = "spec.backend" if resolved.service.spec.backend else "--backend in spec.args"
        return {"backend": resolved.serve.backend, "backendReason": f"{where} is {resolved.serve.backend}."}
    backends = view.snapshot.backends
    reported = sorted((backends[pod.uid] for pod in view.answering if pod.uid in backends), key=str)
    if len({each.backend for each in reported}) > 1:
        found = "; ".join(dict.fromkeys(f"{each.backend} ({each.backend_reason})" for each in reported))
        return {"backend": BackendName.AUTO, "backendReason": f"The servers selected different backends: {found}."}
    if reported:
        return {"backend": reported[0].backend, "backendReason": sentence(reported[0].backend_reason)}
    before = view.snapshot.status
    is_of_these = before.get("observedGeneration") == view.generation and view.recorded.get("serving") == view.serving
    if is_of_these and before.get("backend", BackendName.AUTO) != BackendName.AUTO:
        # Reported to an earlier leader, or by pods that are not ready now.
        return {"backend": before["backend"], "backendReason": before.get("backendReason", "")}
    reason = (
        "The backend is auto: vllm if it serves the model exactly, else huggingface. "
        f"GET {url}/v1/models reports the choice and its reason (backend, backend_reason)."
    )
    return {"backend": BackendName.AUTO, "backendReason": reason}


def _why_slow(view: View) -> str | None:
    if view.download is None or view.resolved is None:
        return None
    return why_slow(view.download, view.resolved.rollout.progress_deadline_seconds, view.now)


def _recorded_download(view: View) -> Raw:
    recorded: Raw = (view.snapshot.status.get("model") or {}).get("download") or {}
    return recorded
