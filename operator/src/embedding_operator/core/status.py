"""The status of a service and of a storage container.

`Accepted` says whether the spec can be obeyed, `ModelAvailable` whether the model's files are fetched, `Available`
whether requests are answered, and `Ready` whether all of that is so for the spec as it is now; its message is what a
person must do. A spec that is refused changes nothing that runs: then `Available` may be True and `Ready` is False.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from embedding_operator.api.kubernetes import Condition
from embedding_operator.api.v1alpha1 import (
    Address,
    ClusterStorageContainer,
    EmbeddingServiceStatus,
    ModelStatus,
    StorageContainer,
    StorageContainerStatus,
    StorageStatus,
)
from embedding_operator.api.words import in_words, sentence
from embedding_operator.core import names, storage
from embedding_operator.core.diagnosis import Finding, Look, Wanted, look, worst
from embedding_operator.core.observed import Observed, Pod
from embedding_operator.core.reasons import Reason
from embedding_operator.errors import Refused
from embedding_operator.settings import Settings

__all__ = ["condition_of", "of_refused", "of_settled", "of_storage_container"]

_State = Literal["True", "False", "Unknown"]


class _Said(NamedTuple):
    """A condition, before it is known since when it is so."""

    type: str
    status: _State
    reason: str
    message: str


def of_settled(
    raw: Mapping[str, Any], wanted: Wanted, seen: Observed, *, settings: Settings, now: datetime
) -> dict[str, Any]:
    """The status of a service that is accepted."""
    settled, alive = wanted.settled, [pod for pod in seen.pods if not pod.gone]
    service = settled.service
    url = names.url(service, settings)
    status = EmbeddingServiceStatus(
        observed_generation=service.metadata.generation,
        url=url,
        address=Address(url=url),
        backend=settled.serve.backend,
        model=ModelStatus(name=settled.serve.model_name),
        storage_container=StorageStatus(kind=settled.fetcher.kind, name=settled.fetcher.name),
        replicas=len(alive),
        ready_replicas=sum(pod.ready for pod in alive),
        selector=names.label_selector(service),
        conditions=_conditions(raw, _of_pods(wanted, alive, seen), now),
    )
    return status.to_dict()


def of_refused(raw: Mapping[str, Any], refused: Refused, seen: Observed, now: datetime) -> dict[str, Any]:
    """The status of a service that is not accepted: what is wrong, and whether what ran before still answers."""
    alive = [pod for pod in seen.pods if not pod.gone]
    ready = sum(pod.ready for pod in alive)
    reason, message = _problems(refused)
    goes_on = " Until then, what ran before this change goes on." if ready else ""
    nothing = Finding(Reason.NOT_ACCEPTED, "Nothing is run for a spec that is not accepted.")
    said = [
        _Said("Ready", "False", reason, message + goes_on),
        _Said("Accepted", "False", reason, message),
        _Said("ModelAvailable", "Unknown", Reason.NOT_ACCEPTED, "Nothing is fetched for a spec that is not accepted."),
        _said(
            "Available", None if ready else nothing, Reason.AVAILABLE, "What ran before this change answers requests."
        ),
    ]
    before = {key: value for key, value in (raw.get("status") or {}).items() if alive}
    return {
        **before,
        "observedGeneration": raw["metadata"].get("generation"),
        "replicas": len(alive),
        "readyReplicas": ready,
        "conditions": [each.to_dict() for each in _conditions(raw, said, now)],
    }


def of_storage_container(raw: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The status of a storage container: whether services can use it, and for which URIs."""
    status = StorageContainerStatus(
        observed_generation=raw["metadata"].get("generation"),
        conditions=_conditions(raw, [_of_storage(raw)], now),
    )
    return status.to_dict()


def condition_of(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One condition of a status; empty when it was never said."""
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


def _of_pods(wanted: Wanted, alive: Sequence[Pod], seen: Observed) -> list[_Said]:
    replicas = wanted.settled.service.spec.replicas
    present = [pod for pod in alive if pod.template == wanted.template]
    looks = [look(pod, wanted) for pod in present]
    blocked = worst([*(each.blocked for each in looks), _of_the_whole(replicas, present, alive, seen)])
    return [
        _said("Ready", blocked, Reason.READY, f"{replicas} of {replicas} replicas are ready."),
        _Said("Accepted", "True", Reason.ACCEPTED, " ".join(["The spec is valid.", *wanted.settled.notes])),
        _model_available(wanted, looks),
        _available(blocked, sum(pod.ready for pod in alive), replicas),
    ]


def _model_available(wanted: Wanted, looks: Sequence[Look]) -> _Said:
    """A pod that still fetches says nothing against those that have the model; one that cannot does."""
    missing = worst([each.model for each in looks])
    fetched = any(each.model is None for each in looks)
    if missing is None and not fetched:
        missing = Finding(Reason.PENDING, "No pod is there to fetch it.")
    if missing is not None and fetched and not missing.is_trouble:
        missing = None
    return _said(
        "ModelAvailable", missing, Reason.DOWNLOADED, f"{wanted.settled.service.spec.model.storage_uri} is fetched."
    )


def _available(blocked: Finding | None, answering: int, replicas: int) -> _Said:
    return _said(
        "Available",
        None if answering else blocked,
        Reason.AVAILABLE,
        f"{answering} of {replicas} replicas answer requests.",
    )


def _said(kind: str, against: Finding | None, reason: str, message: str) -> _Said:
    return _Said(kind, "False", against.reason, against.message) if against else _Said(kind, "True", reason, message)


def _of_the_whole(replicas: int, present: Sequence[Pod], alive: Sequence[Pod], seen: Observed) -> Finding | None:
    """What no single pod shows."""
    refused = next((message for message in map(_pods_refused, seen.deployments) if message), None)
    if refused is not None:
        return Finding(Reason.PODS_REFUSED, f"The cluster refuses the pods: {refused}")
    if replicas == 0:
        return Finding(Reason.SCALED_TO_ZERO, "Nothing runs, because spec.replicas is 0.")
    if len(present) < replicas:
        return Finding(Reason.PENDING, f"{len(present)} of {replicas} pods are made.")
    if len(alive) > len(present):
        return Finding(Reason.ROLLING_OUT, "Pods from before the last change are still there.")
    return None


def _pods_refused(deployment: Mapping[str, Any]) -> str | None:
    """A quota, an admission policy: the words of whoever refused."""
    failure = condition_of(deployment.get("status") or {}, "ReplicaFailure")
    return failure.get("message") if failure.get("status") == "True" else None


def _problems(refused: Refused) -> tuple[str, str]:
    """The reason is what can only be changed in the spec, if anything; what may heal by itself comes after it."""
    reasons = [problem.reason for problem in refused.problems]
    reason = Reason.INVALID_SPEC if Reason.INVALID_SPEC in reasons else reasons[0]
    return reason, sentence([problem.message for problem in refused.problems])


def _of_storage(raw: Mapping[str, Any]) -> _Said:
    model = ClusterStorageContainer if raw["kind"] == "ClusterStorageContainer" else StorageContainer
    try:
        given: storage.AnyStorageContainer = model.model_validate(raw)
    except ValidationError as error:
        return _Said("Accepted", "False", Reason.INVALID_SPEC, sentence(in_words(error, model)))
    if bad := storage.bad_formats(given):
        return _Said("Accepted", "False", Reason.INVALID_SPEC, sentence(bad))
    if why_not := storage.out_of_use(given):
        return _Said("Accepted", "False", Reason.DISABLED, f"No service uses it: {why_not}.")
    formats = [each.prefix or f"/{each.regex}/" for each in given.spec.supported_uri_formats]
    return _Said(
        "Accepted", "True", Reason.ACCEPTED, f"It fetches {', '.join(formats) or 'any URI except pvc:// and file://'}."
    )


def _conditions(raw: Mapping[str, Any], said: Sequence[_Said], now: datetime) -> list[Condition]:
    """As conditions. One whose status is as it was keeps the time of its last transition."""
    before = raw.get("status") or {}
    conditions = []
    for kind, status, reason, message in said:
        old = condition_of(before, kind)
        kept = old.get("lastTransitionTime") if old.get("status") == status else None
        conditions.append(
            Condition(
                type=kind,
                status=status,
                reason=str(reason),
                message=message,
                last_transition_time=kept or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                observed_generation=raw["metadata"].get("generation"),
            )
        )
    return conditions
