"""One download: a Job of the cache with its pods, read from raw objects."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from embedding_operator.constants import INITIALIZER
from embedding_operator.core.diagnosis.events import STUCK_AFTER, is_waiting, not_started
from embedding_operator.core.diagnosis.job import refused
from embedding_operator.core.diagnosis.kubelet import cannot_start
from embedding_operator.core.downloads import Download, downloading, least_advanced
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.pods import Pod, PodEvent, Terminated
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.uri_identity import identity
from embedding_operator.core.wording import sentence, without_repetition
from embedding_runtime.contract import RETRY_IS_USELESS, DownloadedModel, DownloadProgress, FailedDownload

__all__ = ["Run", "run_of"]

_KEEP = "--keep="
_NO_CLAIM = re.compile(r'persistentvolumeclaim "[^"]+" (not found|is being deleted)')


@dataclass(frozen=True)
class Run:
    """`ended_at` is None while the Job is at work; then `report` is what it reports if it succeeded."""

    job: Raw
    pods: tuple[Pod, ...]
    """Oldest first."""
    ended_at: datetime | None = None
    has_succeeded: bool = False
    download: Download | None = None
    """How far it is, if its pod has reported that."""
    blocked: Finding | None = None
    """What keeps its pod from being created, or from starting."""

    @property
    def name(self) -> str:
        """The Job's name."""
        name: str = self.job["metadata"]["name"]
        return name

    @property
    def uri(self) -> str:
        """The `identity` of what it downloads; empty for a Job of somebody else that names the cache as its owner."""
        return identity(self._args[1]) if len(self._args) > 1 else ""

    @property
    def keep(self) -> frozenset[str]:
        """The paths of the models that it must not evict."""
        return frozenset(
            path for each in self._args if each.startswith(_KEEP) for path in each[len(_KEEP) :].split(",")
        )

    @property
    def report(self) -> DownloadedModel | None:
        """None: it has not succeeded, or its pod was removed before its report was seen."""
        return next((pod.downloaded for pod in self.pods if pod.downloaded is not None), None)

    @property
    def reported_at(self) -> datetime | None:
        """When it reported that: as soon as its pod has ended."""
        ends = [pod.initializer.terminated for pod in self.pods if pod.downloaded is not None]
        return next((end.finished_at for end in ends if end and end.finished_at), self.ended_at)

    @property
    def is_final(self) -> bool:
        """It failed, and another attempt would fail, too."""
        last = self._last_failure
        return self.ended_at is not None and last is not None and last.exit_code == RETRY_IS_USELESS

    @property
    def failure(self) -> Finding:
        """Why it failed, or its last pod so far."""
        last = self._last_failure
        if last is None:
            words = sentence(condition_of(self.job.get("status") or {}, "Failed").get("message") or "no pod ran")
            return Finding(Reason.DOWNLOAD_FAILED, f"Job {self.name} failed: {words}")
        if last.reason == "OOMKilled":
            remedy = "Raise spec.container.resources.limits.memory of a StorageContainer for this URI."
            return Finding(Reason.OUT_OF_MEMORY, f"The download used all of its memory limit. {remedy}")
        failed = FailedDownload.from_log(last.message)
        return Finding(Reason(failed.verdict), sentence(failed.message))

    @property
    def progress(self) -> Finding:
        """How far it is, or what keeps it; only while it is at work."""
        if self.blocked is not None:
            return self.blocked
        if self._last_failure is not None:
            failed = sum(1 for pod in self.pods if _failure(pod) is not None)
            finding = self.failure
            return Finding(finding.reason, f"{finding.message} Attempt {failed} failed; retrying.")
        if any(pod.initializer.running for pod in self.pods if not pod.is_gone):
            how_far = f": {self.download}." if self.download else "."
            return Finding(Reason.DOWNLOADING, f"Job {self.name} is downloading it{how_far}")
        return Finding(Reason.PENDING, f"Job {self.name} is about to start.")

    @property
    def _args(self) -> Sequence[str]:
        args: Sequence[str] = _downloader(self.job).get("args") or ()
        return args

    @property
    def _last_failure(self) -> Terminated | None:
        return next((end for pod in reversed(self.pods) if (end := _failure(pod)) is not None), None)


def run_of(
    job: Raw,
    pods: Iterable[Pod],
    now: datetime,
    progress: Mapping[str, DownloadProgress] | None = None,
    events: Mapping[str, Sequence[PodEvent]] | None = None,
) -> Run:
    """With those of the pods that are the Job's. `progress` is by pod UID, `events` by that of pods or of the Job."""
    own = sorted((pod for pod in pods if pod.revision == job["metadata"]["name"]), key=lambda pod: pod.created_at)
    status = job.get("status") or {}
    complete, failed = condition_of(status, "Complete"), condition_of(status, "Failed")
    end = next((each for each in (complete, failed) if each.get("status") == "True"), None)
    if end is None:
        download = least_advanced(downloading(own), progress or {})
        return Run(job, tuple(own), download=download, blocked=_blocked(job, own, now, events or {}))
    return Run(job, tuple(own), datetime.fromisoformat(end["lastTransitionTime"]), has_succeeded=end is complete)


def _downloader(job: Raw) -> Raw:
    """The container that downloads. Webhooks may have added others."""
    containers = job["spec"]["template"]["spec"]["containers"]
    return next((each for each in containers if each["name"] == INITIALIZER), {})


def _failure(pod: Pod) -> Terminated | None:
    end = pod.initializer.terminated
    return end if end is not None and end.exit_code != 0 else None


def _blocked(job: Raw, pods: Sequence[Pod], now: datetime, events: Mapping[str, Sequence[PodEvent]]) -> Finding | None:
    if not pods:
        return refused(job, events.get(job["metadata"]["uid"], ()), now)
    live = next((pod for pod in reversed(pods) if not pod.is_gone), None)
    if live is None:
        return None
    if is_waiting(live) and now - live.created_at >= STUCK_AFTER:
        return not_started(live, events.get(live.uid, ()))
    return _stuck(live, job)


def _stuck(pod: Pod, job: Raw) -> Finding | None:
    """What keeps a pod from starting."""
    if pod.unschedulable is None:
        return cannot_start(pod.initializer, _downloader(job), "the download")
    cause = sentence(without_repetition(pod.unschedulable))
    if _NO_CLAIM.search(cause):
        remedy = "Create the PersistentVolumeClaim, or correct its name in the spec."
        return Finding(Reason.VOLUME_NOT_FOUND, f"No node can run the download: {cause} {remedy}")
    if "unbound" in cause:
        remedy = "Check the events of the PersistentVolumeClaim: its storage class must support its access mode."
        return Finding(Reason.VOLUME_NOT_BOUND, f"No node can run the download: {cause} {remedy}")
    return Finding(Reason.UNSCHEDULABLE, f"No node can run the download: {cause}")
