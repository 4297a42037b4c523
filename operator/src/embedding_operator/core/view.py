"""All that the conditions of one service depend on, and the facts that more than one of them needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

from embedding_operator.constants import REVISION_LABEL
from embedding_operator.core.diagnosis import ExpectedPod, PodDiagnosis, most_severe
from embedding_operator.core.downloads import Download
from embedding_operator.core.objects import LEGACY, Raw, condition_of
from embedding_operator.core.pins import pin_of
from embedding_operator.core.pods import Pod
from embedding_operator.core.records import Finding
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.rollout import Phase, Rollout
from embedding_operator.core.rollout_state import SETTLE
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.errors import Fault, Problem
from embedding_operator.settings import Settings
from embedding_runtime.contract import DownloadedModel

__all__ = ["View"]

_HAVE_DEADLINE = (Phase.FIRST, Phase.SETTLED, Phase.RESOLVING)


@dataclass(frozen=True)
class View:
    """One service as a plan sees it. `problems` say why the spec is rejected, else `resolved` is there."""

    snapshot: Snapshot
    settings: Settings
    now: datetime
    resolved: ResolvedService | None = None
    problems: tuple[Problem, ...] = ()
    rollout: Rollout | None = None
    expected: ExpectedPod | None = None
    diagnoses: Mapping[str, PodDiagnosis] = field(default_factory=dict)
    """By pod UID, of the desired revision's pods."""
    downloading: tuple[Pod, ...] = ()
    """Pods that download the model of the desired revision."""
    download: Download | None = None
    """How far the least advanced of them is; None: none of them has reported."""
    deployment_finding: Finding | None = None
    has_writes: bool = False
    """Children are not as planned yet."""
    budget_waits: bool = False
    """A change that the user did not make waits for the rollout budget."""
    resolving: Finding | None = None
    """How far the Job is that finds the version of the model, while that is not known."""
    is_checking: bool = False
    """A Job is wanted that looks for a newer version of the model than the one that the pods have."""
    failed_check: Finding | None = None
    """Why it is not known whether there is a newer version of the model."""
    fault: Fault | None = None
    """What stopped the reconcile: a failed call, a missing right, a bug."""

    @property
    def service(self) -> Raw:
        """The raw service."""
        return self.snapshot.service

    @property
    def generation(self) -> int | None:
        """The generation of the spec."""
        generation: int | None = self.service["metadata"].get("generation")
        return generation

    @property
    def replicas(self) -> int:
        """Desired number of replicas."""
        if self.resolved is not None:
            return self.resolved.replicas
        wanted = (self.service.get("spec") or {}).get("replicas")
        return wanted if isinstance(wanted, int) else 1

    @property
    def recorded(self) -> Raw:
        """`status.revision` as it was last written."""
        revision: Raw = self.snapshot.status.get("revision") or {}
        return revision

    @cached_property
    def serving(self) -> str | None:
        """The revision that gets the requests now: what the Service selects. None: there is no Service."""
        if self.snapshot.frontend is None:
            return None
        selector = self.snapshot.frontend["spec"].get("selector") or {}
        return str(selector.get(REVISION_LABEL, LEGACY))

    @cached_property
    def answering(self) -> tuple[Pod, ...]:
        """Pods of any version that answer requests."""
        return tuple(pod for pod in self.snapshot.live_pods(self.serving) if pod.is_ready) if self.serving else ()

    @property
    def aimed_at(self) -> str | None:
        """The revision that is to serve: the desired one, or the serving one while a change waits for its turn."""
        if self.rollout is None:
            return None
        return self.rollout.serving if self.budget_waits else self.rollout.desired

    @cached_property
    def current(self) -> tuple[Pod, ...]:
        """Live pods of that revision and of its present template; while a change waits, of any template."""
        if self.aimed_at is None or self.expected is None:
            return ()
        pods = self.snapshot.live_pods(self.aimed_at)
        return tuple(pod for pod in pods if self.budget_waits or pod.template == self.expected.template)

    @cached_property
    def outdated(self) -> tuple[Pod, ...]:
        """Live pods of other revisions, or of an older template."""
        return tuple(pod for pod in self.snapshot.live_pods() if pod not in self.current)

    @property
    def settled(self) -> tuple[Pod, ...]:
        """Current pods that have been ready for long enough that every node sends them requests."""
        return tuple(pod for pod in self.current if pod.ready_since and self.now - pod.ready_since >= SETTLE)

    @property
    def previous_serves(self) -> bool:
        """Requests are answered, only by the version before the last change."""
        return bool(self.answering) and not any(pod in self.current for pod in self.answering)

    @property
    def desired_deployment(self) -> Raw | None:
        """The Deployment of the revision that is to serve for now, if it exists."""
        return self.snapshot.deployments.get(self.aimed_at) if self.aimed_at else None

    def downloaded(self, revision: str | None) -> DownloadedModel | None:
        """What the initializers of a revision's pods report about the model: the first one, as all have the same URI.
        Else what a Job reported. None: nothing has been downloaded, or its initializer reports nothing.
        """
        pods = sorted(self.snapshot.live_pods(revision), key=lambda pod: (pod.created_at, pod.name))
        reported = next((each for pod in pods if (each := pod.downloaded) is not None), None)
        deployment = self.snapshot.deployments.get(revision or "")
        return reported or (pin_of(deployment) if deployment else None)

    def model_version(self, revision: str | None) -> str | None:
        """The commit or digest of the model that a revision's pods have; None: it is not known."""
        if (downloaded := self.downloaded(revision)) is not None:
            return downloaded.revision
        deployment = self.snapshot.deployments.get(revision or "") or {}
        pod = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
        images = (each["image"]["reference"] for each in pod.get("volumes") or () if each.get("image"))
        return next((each.rpartition("@")[2] for each in images), None)

    @cached_property
    def found(self) -> tuple[PodDiagnosis, ...]:
        """The diagnoses of the current pods."""
        return tuple(self.diagnoses[pod.uid] for pod in self.current if pod.uid in self.diagnoses)

    @cached_property
    def blocked(self) -> Finding | None:
        """What keeps the current pods from answering. While writes are due, the Deployment's words are old."""
        if self.replicas == 0:
            return None
        deployment = None if self.has_writes else self.deployment_finding
        return most_severe([*(each.blocked for each in self.found), deployment])

    @property
    def deadline(self) -> datetime | None:
        """When pods that are not ready count as stalled; None: a rollout is under way, which has its own deadline.

        It counts from what changed last: the Deployment, a pod, or the service's readiness.
        """
        if self.resolved is None or self.rollout is None or self.rollout.phase not in _HAVE_DEADLINE:
            return None
        ready = condition_of(self.snapshot.status, "Ready")
        lost_at = ready.get("lastTransitionTime") if ready.get("status") == "False" else None
        deployment = self.desired_deployment
        began = [
            *(pod.created_at for pod in self.current),
            *([datetime.fromisoformat(deployment["metadata"]["creationTimestamp"])] if deployment else []),
            datetime.fromisoformat(lost_at) if lost_at else self.now,
        ]
        return max(began) + timedelta(seconds=self.resolved.rollout.progress_deadline_seconds)

    @property
    def is_late(self) -> bool:
        """The deadline has passed."""
        return self.deadline is not None and self.now >= self.deadline
