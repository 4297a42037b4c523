"""The facts that a rollout is decided on: how the desired revision's pods do, and since when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from embedding_operator.constants import MODEL_ANNOTATION, TEMPLATE_ANNOTATION
from embedding_operator.core.objects import Raw
from embedding_operator.core.pods import Pod
from embedding_operator.core.records import Finding
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.resources.v1alpha1 import Rollout as RolloutSpec

__all__ = ["SETTLE", "RolloutState"]

SETTLE = timedelta(seconds=2)
"""A pod counts as ready when it has been ready for so long: kube-proxies learn of a pod a moment after the API does."""


@dataclass(frozen=True)
class RolloutState:
    """`desired` is the revision of the spec as it is now, `template` its pod template, `trouble` what keeps its pods
    from becoming ready and does not go away by waiting.
    """

    desired: str
    replicas: int
    spec: RolloutSpec
    snapshot: Snapshot
    template: Raw
    trouble: Finding | None
    now: datetime

    @cached_property
    def deployments(self) -> Mapping[str, Raw]:
        """By revision."""
        return self.snapshot.deployments

    @property
    def digest(self) -> str:
        """Digest of the desired revision's present template."""
        digest: str = self.template["metadata"]["annotations"][TEMPLATE_ANNOTATION]
        return digest

    @cached_property
    def candidates(self) -> tuple[Pod, ...]:
        """The desired revision's pods, of its present template."""
        return tuple(pod for pod in self.snapshot.live_pods(self.desired) if pod.template == self.digest)

    @property
    def settled(self) -> tuple[Pod, ...]:
        """The candidates that have been ready for long enough."""
        return tuple(pod for pod in self.candidates if pod.ready_since and self.now - pod.ready_since >= SETTLE)

    @property
    def is_settling(self) -> bool:
        """A candidate has just become ready."""
        return any(pod.is_ready and pod not in self.settled for pod in self.candidates)

    @property
    def is_ready(self) -> bool:
        """As many candidates as there are to be replicas have settled."""
        return len(self.settled) >= self.replicas

    @property
    def is_unschedulable(self) -> bool:
        """No node has room for a candidate."""
        return any(pod.unschedulable is not None for pod in self.candidates)

    @property
    def is_blocked_by_failed_pods(self) -> bool:
        """No node has room for a candidate, while the revision's pods of an older template hold room and never served.
        A Deployment would keep them until the candidate is ready, which it cannot become.
        """
        older = [pod for pod in self.snapshot.live_pods(self.desired) if pod.template != self.digest]
        return self.is_unschedulable and bool(older) and not any(pod.is_ready or pod.was_ready for pod in older)

    @property
    def has_going_frontend(self) -> bool:
        """The Kubernetes Service is being deleted: it cannot be updated, and still routes to the same pods."""
        frontend = self.snapshot.frontend
        return frontend is not None and "deletionTimestamp" in frontend["metadata"]

    @property
    def began(self) -> datetime | None:
        """When the desired revision's Deployment was created; None: it has none."""
        candidate = self.deployments.get(self.desired)
        return datetime.fromisoformat(candidate["metadata"]["creationTimestamp"]) if candidate else None

    @property
    def age(self) -> timedelta:
        """How long the desired revision's Deployment has existed."""
        return self.now - self.began if self.began else timedelta()

    @property
    def recorded_model(self) -> str | None:
        """The version of the model that the desired revision's Deployment records."""
        annotations: Raw = (self.deployments.get(self.desired) or {"metadata": {}})["metadata"].get("annotations") or {}
        return annotations.get(MODEL_ANNOTATION)

    def is_overdue(self, patience: timedelta) -> bool:
        """The candidate has had its time, and it is not at work on what takes long: a download, a load."""
        return self.age >= patience and not self.is_at_work

    @property
    def is_at_work(self) -> bool:
        """A candidate downloads or loads, without trouble."""
        return self.trouble is None and any(
            pod.initializer.running or pod.server.running for pod in self.candidates if not pod.is_ready
        )
