"""Which of several findings is reported."""

from collections.abc import Iterable, Mapping

from embedding_operator.core.diagnosis.pod import PodDiagnosis
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding

__all__ = ["most_severe", "rollout_trouble"]

_ORDER: Mapping[str, int] = {reason: index for index, reason in enumerate(Reason)}
_AT_WORK = (Reason.DOWNLOADING, Reason.LOADING)


def most_severe(findings: Iterable[Finding | None]) -> Finding | None:
    """Trouble before progress, then what is earliest in a pod's life. Reasons of the kubelet count as early.

    A passed deadline is not reported while a pod is downloading or loading a large model.
    """
    found = [each for each in findings if each is not None]
    if any(each.reason in _AT_WORK for each in found):
        found = [each for each in found if each.reason != Reason.PROGRESS_DEADLINE_EXCEEDED]
    return min(found, key=lambda each: (not each.is_trouble, _ORDER.get(each.reason, 0)), default=None)


def rollout_trouble(diagnoses: Iterable[PodDiagnosis], deployment: Finding | None) -> Finding | None:
    """What keeps the pods of a revision from becoming ready and does not go away by waiting.

    A deadline is left out: `rollout.decide` has its own.
    """
    if deployment is not None and deployment.reason == Reason.PROGRESS_DEADLINE_EXCEEDED:
        deployment = None
    worst = most_severe([*(each.blocked for each in diagnoses), deployment])
    return worst if worst is not None and worst.is_trouble else None
