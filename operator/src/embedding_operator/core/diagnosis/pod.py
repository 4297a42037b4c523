"""The diagnosis of one pod."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from embedding_operator.core.diagnosis.events import STUCK_AFTER, is_waiting, not_started
from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.image_volume import image_missing
from embedding_operator.core.diagnosis.initializer import model_missing
from embedding_operator.core.diagnosis.scheduling import unschedulable
from embedding_operator.core.diagnosis.server import server_blocked
from embedding_operator.core.downloads import Download
from embedding_operator.core.pods import Pod, PodEvent
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding

__all__ = ["PodDiagnosis", "diagnose"]


@dataclass(frozen=True)
class PodDiagnosis:
    """What keeps the model away from the pod, and what keeps it from answering requests; None: nothing does."""

    model: Finding | None
    blocked: Finding | None


def diagnose(
    pod: Pod, expected: ExpectedPod, events: Sequence[PodEvent], now: datetime, download: Download | None = None
) -> PodDiagnosis:
    """`events`: the pod's Warning Events, oldest first; only pods that `needs_events` names have any. `download`: how
    far the pods of its revision are that download.
    """
    if pod.is_ready:
        return PodDiagnosis(None, None)
    if pod.unschedulable is not None:
        pending = Finding(Reason.PENDING, "No node runs the pod yet.")
        return PodDiagnosis(pending, unschedulable(pod.unschedulable, expected))
    if expected.initializer and not _has_model(pod):
        model = model_missing(pod.initializer, expected, download)
    else:
        model = image_missing(pod, expected)
    blocked = model or server_blocked(pod, expected, events)
    if is_waiting(pod) and now - pod.created_at >= STUCK_AFTER:
        blocked = not_started(pod, events)
        model = model and blocked
    return PodDiagnosis(model, blocked)


def _has_model(pod: Pod) -> bool:
    """A server that has run had its model; after a reboot of its node the initializer runs anew."""
    return pod.server.running or (pod.server.terminated is not None and not pod.initializer.running)
