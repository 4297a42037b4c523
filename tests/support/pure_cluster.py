"""A cluster without an API server: plans are executed on plain objects. No I/O, and its own clock.

Only pods are made by hand: `cluster.run(revision)` says what their containers do.
"""

import copy
import itertools
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from embedding_operator.core import storage
from embedding_operator.core.cache_access import claims_needed
from embedding_operator.core.model_cache.shared import shared_cache
from embedding_operator.core.objects import is_controlled_by, revision_of
from embedding_operator.core.plan import Annotate, Create, Delete, Plan, Replace, Scale, plan_service
from embedding_operator.core.pods import job_pod_of, pod_of
from embedding_operator.core.questions import Answer
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.settings import Settings
from embedding_runtime.contract import DownloadProgress, SelectedBackend
from support.builders import NOW, SETTINGS, Raw, as_live, running

__all__ = ["PureCluster", "a_shared_claim"]


def a_shared_claim(name: str, *modes: str, phase: str = "Bound") -> Raw:
    """A PersistentVolumeClaim of the user's, by default as a ClusterModelCache needs it."""
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": list(modes or ("ReadWriteMany",))},
        "status": {"phase": phase},
    }


class PureCluster:
    """One service and all that belongs to it."""

    def __init__(self, service: Raw, *storage_containers: Raw, settings: Settings = SETTINGS, **secrets: str) -> None:
        self.service = {**service, "metadata": {"uid": "5eed", "namespace": "default", **service["metadata"]}}
        self.storage_containers = storage_containers
        self.settings = settings
        self.secrets = {name.replace("_", "-"): frozenset({key}) for name, key in secrets.items()}
        self.objects: dict[tuple[str, str], Raw] = {}
        self.pods: dict[str, Raw] = {}
        self.answers: dict[str, Answer] = {}
        """By pod UID."""
        self.now: datetime = NOW
        self.may_roll = True
        self.runs_jobs = True
        self.server_version = (1, 35)
        self.cached: frozenset[str] = frozenset()
        self.model_caches: list[Raw] = []
        """Of both kinds."""
        self.claim_users: tuple[Raw, ...] = ()
        self.claims: dict[str, Raw | None] = {}
        """Those through which ClusterModelCaches are mounted, where one is not as it should be."""
        self.writes: list[Any] = []
        self.events: list[tuple[str, str]] = []
        self._numbers = itertools.count(1)

    def snapshot(self) -> Snapshot:
        children = tuple(each for each in self.objects.values() if is_controlled_by(each, "5eed"))
        deployments = [each for each in children if each["kind"] == "Deployment"]
        pods = (pod_of(each, deployments) for each in self.pods.values())
        jobs = [each for each in children if each["kind"] == "Job"]
        job_pods = (job_pod_of(each, jobs) for each in self.pods.values())
        snapshot = Snapshot(
            self.service,
            children=children,
            others=tuple(each for each in self.objects.values() if each not in children),
            pods=tuple(pod for pod in pods if pod is not None),
            job_pods=tuple(pod for pod in job_pods if pod is not None),
            storage_containers=tuple(map(storage.read, self.storage_containers)),
            secrets=self.secrets,
            may_roll=self.may_roll,
            runs_jobs=self.runs_jobs,
            server_version=self.server_version,
            cached=self.cached,
            progress={pod: each for pod, each in self.answers.items() if isinstance(each, DownloadProgress)},
            backends={pod: each for pod, each in self.answers.items() if isinstance(each, SelectedBackend)},
            claim_users=self.claim_users,
            shared_caches=tuple(each for each in map(shared_cache, self.model_caches) if each is not None),
        )
        return replace(
            snapshot, claims={name: self.claims.get(name, a_shared_claim(name)) for name in claims_needed(snapshot)}
        )

    def reconcile(self) -> Plan:
        """One plan, carried out."""
        plan = plan_service(self.snapshot(), self.settings, self.now)
        for write in (*plan.check, *plan.writes):
            self._carry_out(write)
        self.writes += (*plan.check, *plan.writes)
        self.events += [(event.type, event.reason) for event in plan.events]
        if plan.status is not None:
            self.service = {**self.service, "status": plan.status}
        return plan

    def settle(self) -> None:
        """Reconcile until nothing is left to do."""
        for _ in range(20):
            if self.reconcile().is_empty:
                return
        raise AssertionError(f"never settles: {self.writes[-3:]}")

    def after(self, seconds: float) -> None:
        """Let time pass, and settle."""
        self.now += timedelta(seconds=seconds)
        self.settle()

    def change(self, *, model: Raw | None = None, **spec: Any) -> None:
        """The user changes the spec; a field that is None is removed."""
        old = self.service["spec"]
        new = {**old, "model": {**old["model"], **(model or {})}, **spec}
        metadata = {**self.service["metadata"], "generation": self.service["metadata"]["generation"] + 1}
        kept = {key: value for key, value in new.items() if value is not None}
        self.service = {**self.service, "metadata": metadata, "spec": kept}

    def run(self, revision: str, *, count: int = 1, ready: bool = True, **containers: Raw) -> None:
        """Pods of a revision, as its ReplicaSet would make them from the present template."""
        (deployment,) = [each for each in self.deployments if revision_of(each) == revision]
        template = deployment["spec"]["template"]
        for number in range(count):
            name = f"{deployment['metadata']['name']}-hash-{number}"
            self.pods[name] = {
                "metadata": {
                    **copy.deepcopy(template["metadata"]),
                    "name": name,
                    "namespace": "default",
                    "uid": f"uid-{name}-{next(self._numbers)}",
                    "creationTimestamp": self.now.isoformat(),
                    "labels": {**template["metadata"]["labels"], "pod-template-hash": "hash"},
                    "ownerReferences": [
                        {
                            "kind": "ReplicaSet",
                            "name": f"{deployment['metadata']['name']}-hash",
                            "uid": f"uid-of-{revision}",
                            "controller": True,
                        }
                    ],
                },
                "status": {
                    "phase": "Running",
                    "podIP": f"10.0.0.{number + 1}",
                    "conditions": [
                        {"type": "PodScheduled", "status": "True", "lastTransitionTime": self.now.isoformat()},
                        {"type": "Ready", "status": str(ready), "lastTransitionTime": self.now.isoformat()},
                    ],
                    "initContainerStatuses": [{"name": "storage-initializer", **containers.get("initializer", {})}],
                    "containerStatuses": [{"name": "server", **containers.get("server", running(ready=ready))}],
                },
            }

    def run_job(self, container: Raw) -> None:
        """Another pod of the Job, as its controller makes it; what its container does."""
        (job,) = self.jobs
        name = f"{job['metadata']['name']}-{next(self._numbers)}"
        end = (container.get("state") or {}).get("terminated")
        owner = {"kind": "Job", "name": job["metadata"]["name"], "uid": job["metadata"]["uid"], "controller": True}
        self.pods[name] = {
            "metadata": {
                **copy.deepcopy(job["spec"]["template"]["metadata"]),
                "name": name,
                "namespace": "default",
                "uid": f"uid-{name}",
                "creationTimestamp": self.now.isoformat(),
                "ownerReferences": [owner],
            },
            "status": {
                "phase": "Running" if not end else "Failed" if end["exitCode"] else "Succeeded",
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": self.now.isoformat()},
                ],
                "containerStatuses": [{"name": "storage-initializer", **container}],
            },
        }

    def remove_job(self) -> None:
        """As the controller does when its time to live is over, with its pods."""
        (job,) = self.jobs
        del self.objects["Job", job["metadata"]["name"]]
        self._collect(job)

    def _collect(self, job: Raw) -> None:
        uid = job["metadata"]["uid"]
        self.pods = {name: pod for name, pod in self.pods.items() if not is_controlled_by(pod, uid)}

    def report(self, *answers: Answer) -> None:
        """The pods' answers to the operator, in the order of the pods; fewer: the others give none."""
        uids = [each["metadata"]["uid"] for each in self.pods.values()]
        self.answers = dict(zip(uids, answers, strict=False))

    def stop(self, revision: str) -> None:
        """The pods of a revision are gone."""
        self.pods = {name: pod for name, pod in self.pods.items() if revision_of(pod) != revision}

    @property
    def status(self) -> Raw:
        status: Raw = self.service["status"]
        return status

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason."""
        (found,) = [each for each in self.status["conditions"] if each["type"] == kind]
        return found["status"], found["reason"]

    @property
    def deployments(self) -> list[Raw]:
        return [each for (kind, _), each in self.objects.items() if kind == "Deployment"]

    @property
    def jobs(self) -> list[Raw]:
        return [each for (kind, _), each in self.objects.items() if kind == "Job"]

    @property
    def serving(self) -> str:
        revision: str = self.status["revision"]["serving"]
        return revision

    @property
    def selected(self) -> str | None:
        """The revision that the Service selects."""
        selector = self.objects["Service", self.service["metadata"]["name"]]["spec"]["selector"]
        revision: str | None = selector.get("serving.embeddings.dev/revision")
        return revision

    def replicas(self) -> dict[str, int]:
        """By revision."""
        return {revision_of(each): each["spec"]["replicas"] for each in self.deployments}

    def _carry_out(self, write: Any) -> None:
        if isinstance(write, Create):
            key = write.object["kind"], write.object["metadata"]["name"]
            assert key not in self.objects, "a POST of what exists"
            self._put(write.object, uid=f"uid-{next(self._numbers)}", created=self.now)
        elif isinstance(write, Replace):
            old = self.objects[write.object["kind"], write.object["metadata"]["name"]]["metadata"]
            assert write.object["metadata"]["resourceVersion"] == old["resourceVersion"]
            self._put(write.object, uid=old["uid"], created=datetime.fromisoformat(old["creationTimestamp"]))
        elif isinstance(write, Scale):
            old = self.objects["Deployment", write.ref.name]
            old["spec"]["replicas"] = write.replicas
        elif isinstance(write, Annotate):
            metadata = self.pods[write.ref.name]["metadata"]
            merged = {**metadata["annotations"], **write.annotations}
            metadata["annotations"] = {key: value for key, value in merged.items() if value is not None}
        elif isinstance(write, Delete):
            gone = self.objects.pop((write.ref.kind, write.ref.name))
            assert gone["metadata"]["uid"] == write.ref.uid
            if write.ref.kind == "Deployment":
                self.stop(revision_of(gone))
            elif write.ref.kind == "Job":
                self._collect(gone)

    def _put(self, desired: Raw, *, uid: str, created: datetime) -> None:
        live = as_live({key: value for key, value in desired.items() if key != "status"})
        live["metadata"].pop("managedFields", None)
        live["metadata"] |= {
            "uid": uid,
            "resourceVersion": str(next(self._numbers)),
            "creationTimestamp": created.isoformat(),
        }
        if live["kind"] == "Deployment":
            live["status"] = {"observedGeneration": live["metadata"].get("generation", 1)}
        self.objects[live["kind"], live["metadata"]["name"]] = live
