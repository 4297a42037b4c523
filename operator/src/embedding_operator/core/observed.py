"""What of the cluster one service's plan depends on, frozen: the one place that reads raw API objects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from pydantic import ValidationError

from embedding_operator.api.v1alpha1 import ClusterStorageContainer, StorageContainer
from embedding_operator.constants import INITIALIZER, SERVER, TEMPLATE_ANNOTATION

__all__ = ["Container", "Ended", "ObjectRef", "Observed", "Pod", "read_storage_containers"]


@dataclass(frozen=True)
class ObjectRef:
    """A reference to one object of the API. With a uid, to that object and not to a later one of the same name."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Ended:
    """How a container ended. `reason` is the kubelet's (OOMKilled, Error, Completed), `message` the log's end."""

    exit_code: int
    reason: str
    message: str


@dataclass(frozen=True)
class Container:
    """One container of a pod. `ended` is how it last ended, also when it has been started again since."""

    running: bool = False
    waiting: str | None = None
    waiting_message: str = ""
    ended: Ended | None = None
    restarts: int = 0


@dataclass(frozen=True)
class Pod:
    """One pod of the service. `template` is the digest of the template it was made from; `gone` is one that is being
    deleted, or was evicted: another takes its place.
    """

    name: str
    template: str | None
    ready: bool
    gone: bool
    unschedulable: str | None
    initializer: Container
    server: Container


@dataclass(frozen=True)
class Observed:
    """The cluster, as far as it concerns one service. Deployments and Services are raw: they are only compared."""

    storage_containers: tuple[StorageContainer | ClusterStorageContainer, ...]
    deployments: tuple[Mapping[str, Any], ...]
    services: tuple[Mapping[str, Any], ...]
    pods: tuple[Pod, ...]
    secrets: Mapping[str, frozenset[str] | None]

    @classmethod
    def of(
        cls,
        *,
        storage_containers: Sequence[Mapping[str, Any]],
        deployments: Sequence[Mapping[str, Any]],
        services: Sequence[Mapping[str, Any]],
        pods: Sequence[Mapping[str, Any]],
        secrets: Mapping[str, frozenset[str] | None],
    ) -> Self:
        """From raw API objects: every storage container, cluster-wide ones among them, and what is labelled as this
        service's. `secrets`: the keys of each, None for one that is missing; those that `secret_keys_needed` names.
        """
        return cls(
            storage_containers=read_storage_containers(storage_containers),
            deployments=tuple(deployments),
            services=tuple(services),
            pods=tuple(sorted(map(_pod, pods), key=lambda pod: pod.name)),
            secrets=secrets,
        )


def read_storage_containers(
    raw: Sequence[Mapping[str, Any]],
) -> tuple[StorageContainer | ClusterStorageContainer, ...]:
    """Those that can be read. The others say in their own status what is wrong, and get in nobody's way."""
    found: list[StorageContainer | ClusterStorageContainer] = []
    for each in raw:
        model = ClusterStorageContainer if each.get("kind") == "ClusterStorageContainer" else StorageContainer
        try:
            found.append(model.model_validate(each))
        except ValidationError:
            continue
    return tuple(found)


def _pod(raw: Mapping[str, Any]) -> Pod:
    metadata, status = raw["metadata"], raw.get("status", {})
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    return Pod(
        name=metadata["name"],
        template=(metadata.get("annotations") or {}).get(TEMPLATE_ANNOTATION),
        ready=conditions.get("Ready", {}).get("status") == "True",
        gone=bool(metadata.get("deletionTimestamp")) or (status.get("phase") == "Failed" and "reason" in status),
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        initializer=_container(status.get("initContainerStatuses"), INITIALIZER),
        server=_container(status.get("containerStatuses"), SERVER),
    )


def _container(statuses: Sequence[Mapping[str, Any]] | None, name: str) -> Container:
    raw = next((each for each in statuses or () if each["name"] == name), None)
    if raw is None:
        return Container()
    state, last = raw.get("state", {}), raw.get("lastState", {})
    waiting = state.get("waiting") or {}
    ended = state.get("terminated") or last.get("terminated")
    return Container(
        running=state.get("running") is not None,
        waiting=waiting.get("reason"),
        waiting_message=waiting.get("message", ""),
        ended=Ended(ended.get("exitCode", 0), ended.get("reason", ""), ended.get("message", "")) if ended else None,
        restarts=raw.get("restartCount", 0),
    )
