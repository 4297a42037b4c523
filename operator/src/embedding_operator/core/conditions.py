"""The conditions of a service: one calculator each.

Ready, Reconciling and Stalled follow kstatus (sigs.k8s.io/cli-utils): `Stalled=True` is Failed, `Reconciling=True` is
InProgress; never both. Ready is False while either is True.
"""

from embedding_operator.core.diagnosis import most_severe
from embedding_operator.core.memory import limit_too_low, quantity
from embedding_operator.core.objects import condition_of
from embedding_operator.core.progress import Progress, Verdict, judge
from embedding_operator.core.reasons import Group, Reason
from embedding_operator.core.records import Condition, ConditionType, Finding, State
from embedding_operator.core.rollout import Phase
from embedding_operator.core.view import View
from embedding_operator.core.wording import MESSAGE_LENGTH, sentence, shortened
from embedding_operator.settings import CPU
from embedding_runtime.contract import least_memory

__all__ = ["calculate"]


def calculate(view: View) -> tuple[Condition, ...]:
    """All conditions, in the order of status."""
    progress = judge(view)
    warnings = (_memory_too_small(view),)
    return (
        _ready(progress),
        _reconciling(progress),
        _stalled(progress),
        _accepted(view, progress),
        _model_available(view, progress),
        _available(view, progress),
        *(each for each in warnings if each is not None),
    )


def _ready(progress: Progress) -> Condition:
    state = State.TRUE if progress.verdict is Verdict.CURRENT else State.FALSE
    return _condition(ConditionType.READY, state, progress.reason, progress.message)


def _reconciling(progress: Progress) -> Condition:
    if progress.verdict is Verdict.RECONCILING:
        return _condition(ConditionType.RECONCILING, State.TRUE, progress.reason, progress.message)
    message = "The service is as specified." if progress.verdict is Verdict.CURRENT else "See Stalled."
    reason = Reason.RECONCILED if progress.verdict is Verdict.CURRENT else progress.reason
    return _condition(ConditionType.RECONCILING, State.FALSE, reason, message)


def _stalled(progress: Progress) -> Condition:
    if progress.verdict is Verdict.STALLED:
        return _condition(ConditionType.STALLED, State.TRUE, progress.reason, progress.message)
    reason = Reason.RECONCILED if progress.verdict is Verdict.CURRENT else Reason.PROGRESSING
    message = "Nothing is left to do." if progress.verdict is Verdict.CURRENT else "See Reconciling."
    return _condition(ConditionType.STALLED, State.FALSE, reason, message)


def _accepted(view: View, progress: Progress) -> Condition:
    if view.problems:
        finding = Finding.of_problems(view.problems)
        return _condition(ConditionType.ACCEPTED, State.FALSE, finding.reason, finding.message)
    if view.resolved is not None:
        notes = [sentence(each) for each in view.resolved.notes]
        return _condition(ConditionType.ACCEPTED, State.TRUE, Reason.ACCEPTED, " ".join(["The spec is valid.", *notes]))
    return _as_before(view, ConditionType.ACCEPTED, progress)


def _model_available(view: View, progress: Progress) -> Condition:
    """A pod that still downloads says nothing against those that have the model; one that cannot does."""
    kind = ConditionType.MODEL_AVAILABLE
    if view.problems:
        message = "The model is not downloaded while the spec is rejected."
        return _condition(kind, State.UNKNOWN, Reason.NOT_ACCEPTED, message)
    if view.resolved is None or view.rollout is None:
        return _as_before(view, kind, progress)
    if view.rollout.phase is Phase.HELD and view.rollout.failed is not None:
        failed = view.rollout.failed
        is_missing = failed.reason in {each for each in Reason if each.group is Group.MODEL}
        return _condition(kind, State.FALSE if is_missing else State.UNKNOWN, failed.reason, failed.message)
    if view.replicas == 0 and view.resolving is None:
        message = "No pod downloads the model because spec.replicas is 0."
        return _condition(kind, State.UNKNOWN, Reason.SCALED_TO_ZERO, message)
    if (missing := view.resolving or _model_missing(view)) is not None:
        return _condition(kind, State.FALSE, missing.reason, missing.message)
    check = f" The last check for a newer version failed: {view.failed_check.message}" if view.failed_check else ""
    return _condition(kind, State.TRUE, Reason.DOWNLOADED, f"{view.resolved.shown_uri} is downloaded.{check}")


def _model_missing(view: View) -> Finding | None:
    missing = most_severe(each.model for each in view.found)
    has_it = any(each.model is None for each in view.found) or any(pod.is_ready for pod in view.current)
    if missing is not None and (missing.is_trouble or not has_it):
        return missing
    return None if has_it else view.blocked or Finding(Reason.PENDING, "No pod has been created yet.")


def _available(view: View, progress: Progress) -> Condition:
    """Whether requests are answered, by whichever version."""
    kind, answering = ConditionType.AVAILABLE, len(view.answering)
    if answering:
        count = f"{answering} replica answers" if answering == 1 else f"{answering} replicas answer"
        is_previous = view.previous_serves and view.resolved is not None
        version = " The previous version is still serving." if is_previous else ""
        return _condition(kind, State.TRUE, Reason.AVAILABLE, f"{count} requests.{version}")
    if progress.verdict is Verdict.CURRENT:
        return _condition(kind, State.FALSE, progress.reason, progress.message)
    return _condition(kind, State.FALSE, progress.reason, f"No replica answers requests. {progress.message}")


def _memory_too_small(view: View) -> Condition | None:
    """A warning before a server is killed: its initializer has reported the size of the weights."""
    kind = ConditionType.MEMORY_TOO_SMALL
    if view.resolved is None or view.rollout is None or view.expected is None:
        before = condition_of(view.snapshot.status, kind)
        is_of_this_spec = before and before.get("observedGeneration") == view.generation
        return (
            Condition(kind, State.TRUE, before["reason"], before["message"], is_warning=True)
            if is_of_this_spec
            else None
        )
    downloaded = view.downloaded(view.rollout.desired)
    if downloaded is None or view.resolved.accelerator != CPU:
        return None
    needed = least_memory(view.resolved.serve, downloaded.weights_bytes)
    if needed is None:
        return None
    takes = (
        f"with {quantity(downloaded.weights_bytes)} of weights the server needs {quantity(needed)} or more under load"
    )
    message = limit_too_low(view.expected.server.get("resources") or {}, needed, takes)
    return Condition(kind, State.TRUE, Reason.MEMORY_TOO_SMALL, message, is_warning=True) if message else None


def _as_before(view: View, kind: ConditionType, progress: Progress) -> Condition:
    """While it cannot be determined, a condition keeps its value for the same spec; else it is Unknown."""
    before = condition_of(view.snapshot.status, kind)
    if before and before.get("observedGeneration") == view.service["metadata"].get("generation"):
        return _condition(kind, State(before["status"]), before["reason"], before["message"])
    return _condition(kind, State.UNKNOWN, progress.reason, "Not known yet: see Ready.")


def _condition(kind: ConditionType, state: State, reason: str, message: str) -> Condition:
    return Condition(kind, state, str(reason), shortened(message, MESSAGE_LENGTH))
