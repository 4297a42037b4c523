"""The status of a cache. Ready, Reconciling and Stalled follow kstatus, as those of services do."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedding_operator.core.model_cache.models import Models
from embedding_operator.core.model_cache.resolve import ResolvedCache
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.progress import Progress, Verdict
from embedding_operator.core.reasons import PROGRESS, Group, Reason
from embedding_operator.core.records import Condition, ConditionType, State
from embedding_operator.core.status import timed
from embedding_operator.core.wording import MESSAGE_LENGTH, one_sentence, sentence, shortened
from embedding_operator.errors import Fault, Problem
from embedding_operator.resources.model_cache import CachedModelState, CachedModelStatus, ModelCacheStatus
from embedding_operator.settings import Settings

__all__ = ["CacheView", "of_cache"]

_KEPT = ("observedGeneration", "claim", "ready", "models", "capacity")
"""What stays while nothing is known: services go on with the models that are there."""
_NOT_WATCHED = "NamespacesNotWatched"
"""Type of the condition that warns of allowed namespaces which are not served; present only while there are any."""
_OF_SPEC = frozenset(each for each in Reason if each.group is Group.SPEC)


@dataclass(frozen=True)
class CacheView:
    """What was found: the models of a valid spec, or its problems, or the fault that kept the plan from being made or
    carried out.
    """

    snapshot: CacheSnapshot
    settings: Settings
    now: datetime
    resolved: ResolvedCache | None = None
    models: Models | None = None
    problems: Sequence[Problem] = ()
    fault: Fault | None = None


def of_cache(view: CacheView) -> dict[str, Any]:
    """The whole new status, a `ModelCacheStatus`."""
    snapshot, manager = view.snapshot, _manager(view)
    conditions = timed(snapshot.cache, (*_conditions(_judge(view)), *_warnings(view)), view.now)
    if view.resolved is None or view.models is None:
        return {
            "models": [],
            **{key: value for key, value in snapshot.status.items() if key in _KEPT},
            **({} if view.fault else {"observedGeneration": snapshot.generation}),
            **({"manager": manager} if manager else {}),
            "conditions": [each.to_dict() for each in conditions],
        }
    states = view.models.states
    return ModelCacheStatus(
        # A plan that failed may have left a Job that only the new spec makes stale. All else that it asks for is in the
        # states of the models: while the fault lasts, a model that fails again, or is evicted, counts as tried.
        observed_generation=snapshot.status.get("observedGeneration")
        if view.fault and view.models.to_delete
        else snapshot.generation,
        manager=manager,
        claim=view.resolved.location.claim,
        ready=f"{_count_ready(states)}/{len(states)}",
        models=[*states, *view.models.removed],
        capacity=view.models.capacity,
        conditions=conditions,
    ).to_dict()


def _manager(view: CacheView) -> str | None:
    """None: the operator does not see the cache's namespace. Another one that does may take it."""
    return view.settings.manager if view.snapshot.location.is_seen(view.settings.namespaces) else None


def _judge(view: CacheView) -> Progress:
    if view.problems:
        message = one_sentence(each.message for each in view.problems)
        return Progress(Verdict.STALLED, view.problems[0].reason, f"{message} Models on the volume stay.")
    if view.fault is not None:
        condition = view.fault.condition()
        verdict = Verdict.STALLED if condition.is_stalled else Verdict.RECONCILING
        reason = condition.reason if condition.is_stalled else Reason.RETRYING
        return Progress(verdict, reason, sentence(condition.message))
    states = view.models.states if view.models else ()
    ready = f"{_count_ready(states)} of {len(states)} models are ready."
    missing = [each for each in states if each.state is not CachedModelState.READY]
    if not missing:
        return Progress(Verdict.CURRENT, Reason.READY, ready if states else "The spec lists no models.")
    at_work = [each for each in missing if not _is_stuck(each)]
    shown = next((each for each in at_work or missing if each.reason not in PROGRESS), (at_work or missing)[0])
    verdict = Verdict.RECONCILING if at_work else Verdict.STALLED
    return Progress(verdict, shown.reason, f"{ready} {shortened(shown.storage_uri, 200)}: {shown.message}")


def _is_stuck(model: CachedModelStatus) -> bool:
    """It makes no progress until something is changed, or for a day."""
    if model.state is CachedModelState.FAILED:
        return model.retry_at is not None or model.reason in _OF_SPEC
    return model.state is CachedModelState.EVICTED


def _count_ready(states: Sequence[CachedModelStatus]) -> int:
    return sum(each.state is CachedModelState.READY for each in states)


def _conditions(progress: Progress) -> tuple[Condition, ...]:
    """Of the three, one has the reason and the message."""
    is_current, message = progress.verdict is Verdict.CURRENT, shortened(progress.message, MESSAGE_LENGTH)
    others = {
        ConditionType.RECONCILING: Verdict.RECONCILING,
        ConditionType.STALLED: Verdict.STALLED,
    }
    ready = Condition(ConditionType.READY, State.TRUE if is_current else State.FALSE, str(progress.reason), message)
    return (
        ready,
        *(
            Condition(kind, State.TRUE, str(progress.reason), message)
            if progress.verdict is verdict
            else Condition(kind, State.FALSE, str(Reason.RECONCILED if is_current else progress.reason), "See Ready.")
            for kind, verdict in others.items()
        ),
    )


def _warnings(view: CacheView) -> tuple[Condition, ...]:
    """Namespaces that are not served, although the spec allows them to use the cache."""
    namespaces = view.snapshot.location.unwatched(view.settings.namespaces)
    if not namespaces or _manager(view) is None:
        return ()
    message = shortened(
        f"spec.allowedNamespaces: this operator does not watch {', '.join(namespaces)}: services there do not use the "
        "cache. Add them to watchNamespaces of the operator's chart, or remove them here.",
        MESSAGE_LENGTH,
    )
    return (Condition(_NOT_WATCHED, State.TRUE, str(Reason.NAMESPACE_NOT_WATCHED), message, is_warning=True),)
