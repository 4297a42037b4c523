"""A ModelCache in a world of its own: plans are carried out at once, and tests say how downloads end."""

import copy
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from embedding_operator.core.model_cache.plan import plan_cache
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.plan import Create, Delete, Plan, Replace
from embedding_operator.core.pods import job_pod_of
from embedding_operator.core.storage import read
from embedding_operator.settings import Settings
from embedding_runtime.contract import RETRY_IS_USELESS, DownloadedModel, short_path
from support.builders import NOW, SETTINGS, Raw, ended, running, waiting

__all__ = ["CacheWorld", "a_cache", "a_cluster_cache"]


def a_cache(*uris: str | Raw, claim: str | None = "models", name: str = "cache", **spec: Any) -> Raw:
    """A ModelCache as the API server gives it, on the user's claim by default."""
    models = [{"storageUri": each} if isinstance(each, str) else each for each in uris]
    volume = {"persistentVolumeClaim": claim} if claim else {}
    return {
        "apiVersion": "serving.embeddings.dev/v1alpha1",
        "kind": "ModelCache",
        "metadata": {"name": name, "namespace": "default", "uid": "cac4e", "generation": 1},
        "spec": {**volume, "models": models, **spec},
    }


def a_cluster_cache(
    *uris: str | Raw, name: str = "shared", claim: str = "models", allowed: Sequence[str] = ("*",), **spec: Any
) -> Raw:
    """A ClusterModelCache whose Jobs run in the namespace `platform`."""
    cache = a_cache(*uris, claim=None, name=name, **spec)
    site = {"namespace": "platform", "volume": {"claimName": claim}, "allowedNamespaces": list(allowed)}
    return {
        **cache,
        "kind": "ClusterModelCache",
        "metadata": {"name": name, "uid": f"uid-{name}", "generation": 1},
        "spec": {**site, **cache["spec"]},
    }


class CacheWorld:
    """One cache, what was created for it, and the time."""

    def __init__(
        self, cache: Raw, *, storage_containers: Sequence[Raw] = (), settings: Settings = SETTINGS, **known: Any
    ) -> None:
        self.cache = cache
        self.settings = settings
        self.known = {**known, "storage_containers": tuple(map(read, storage_containers))}
        self.claim: Raw | None = None
        self.jobs: dict[str, Raw] = {}
        self.pods: dict[str, list[Raw]] = {}
        self.others: list[tuple[Raw, Raw]] = []
        """Jobs of others, each with its pod."""
        self.now = NOW
        self.started: list[str] = []
        """URIs of all downloads that were ever started."""

    @property
    def snapshot(self) -> CacheSnapshot:
        jobs = tuple(self.jobs.values())
        pods = (job_pod_of(raw, jobs) for name in self.jobs for raw in self.pods[name])
        found = tuple(pod for pod in pods if pod is not None)
        others = tuple(job for job, _ in self.others)
        others_pods = tuple(pod for _, raw in self.others if (pod := job_pod_of(raw, others)) is not None)
        return CacheSnapshot(self.cache, self.claim, jobs, found, others=others, others_pods=others_pods, **self.known)

    def plan(self) -> Plan:
        """The plan, not carried out."""
        return plan_cache(self.snapshot, self.settings, self.now)

    def step(self) -> Plan:
        """Carry out the plan."""
        plan = self.plan()
        for write in plan.writes:
            match write:
                case Create(obj) if obj["kind"] == "Job":
                    self._create_job(obj)
                case Create(obj) | Replace(obj):
                    self.claim = obj
                case Delete(ref):
                    self._remove(ref.name)
        if plan.status is not None:
            self.cache = {**self.cache, "status": copy.deepcopy(dict(plan.status))}
        return plan

    def settle(self) -> None:
        """Carry out plans until there is nothing left to do at this time."""
        for _ in range(100):
            if self.step().is_empty:
                return
        raise AssertionError("the plans do not come to rest")

    def pass_time(self, **of: float) -> None:
        """Time passes, and Jobs that have ended are removed when their time is over."""
        self.now += timedelta(**of)
        for name, job in list(self.jobs.items()):
            ends = [each["at"] for each in job["status"]["conditions"]]
            stays = timedelta(seconds=job["spec"]["ttlSecondsAfterFinished"])
            if ends and ends[0] + stays <= self.now:
                self._remove(name)

    def edit(self, **spec: Any) -> None:
        """A user changes the spec."""
        metadata = {**self.cache["metadata"], "generation": self.cache["metadata"]["generation"] + 1}
        self.cache = {**self.cache, "metadata": metadata, "spec": {**self.cache["spec"], **spec}}

    def job(self, uri: str) -> Raw:
        """The Job that downloads the URI."""
        return next(each for each in self.jobs.values() if _uri(each) == uri)

    def active(self) -> list[str]:
        """The URIs whose Jobs have not ended."""
        return [_uri(each) for each in self.jobs.values() if not each["status"]["conditions"]]

    def run(self, uri: str, *, ip: str | None = None) -> None:
        """Its pod runs."""
        self._add_pod(uri, running(), "Running")
        self.pods[self.job(uri)["metadata"]["name"]][-1]["status"]["podIP"] = ip

    def wait(self, uri: str, reason: str, message: str) -> None:
        """Its pod cannot start, in the kubelet's words."""
        self._add_pod(uri, waiting(reason, message), "Pending")

    def succeed(self, uri: str, *, path: str | None = None, size: int = 100, **report: Any) -> None:
        """Its Job ends, with that report."""
        path = path or uri.rpartition("/")[2]
        report["evicted"] = tuple(map(short_path, report.get("evicted", ())))
        message = str(DownloadedModel(weights_bytes=size, path=path, **report))
        self._add_pod(uri, ended(0, message), "Succeeded")
        self._end(uri, "Complete")

    def report_of_another(self, uri: str, *, path: str, evicted: Sequence[str] = ()) -> None:
        """A service's Job downloads into the same volume, and its pod has just ended."""
        name = f"service-model-{len(self.others)}"
        message = str(DownloadedModel(weights_bytes=1, path=path, evicted=tuple(map(short_path, evicted))))
        end = ended(0, message)
        end["state"]["terminated"]["finishedAt"] = self.now.isoformat()
        owner = {"kind": "Job", "name": name, "uid": name, "controller": True}
        metadata = {"name": name, "uid": name, "ownerReferences": [owner], "creationTimestamp": self.now.isoformat()}
        status = {"phase": "Succeeded", "containerStatuses": [{"name": "storage-initializer", **end}]}
        pod = {"spec": {"containers": [{"name": "storage-initializer", "args": ["cache", uri, "/cache"]}]}}
        job = {"metadata": {"name": name, "uid": name}, "spec": {"template": pod}}
        self.others.append((job, {"metadata": metadata, "status": status}))

    def fail(self, uri: str, message: str, *, is_final: bool = True) -> None:
        """Its Job ends: for good, or after all its attempts."""
        self._add_pod(uri, ended(RETRY_IS_USELESS if is_final else 1, message), "Failed")
        self._end(uri, "Failed")

    def state(self, uri: str) -> Raw:
        """What the status says of a model."""
        found: Raw = next(each for each in self.cache["status"]["models"] if each["storageUri"] == uri)
        return found

    @property
    def states(self) -> list[str]:
        """The states of all models."""
        return [each["state"] for each in self.cache["status"]["models"]]

    def condition(self, kind: str = "Ready") -> tuple[str, str, str]:
        """Status, reason and message."""
        (found,) = (each for each in self.cache["status"]["conditions"] if each["type"] == kind)
        return found["status"], found["reason"], found["message"]

    @property
    def kstatus(self) -> str:
        """What `kstatus.Compute` says of it."""
        status = self.cache["status"]
        if status["observedGeneration"] != self.cache["metadata"]["generation"]:
            return "InProgress"
        states = {each["type"]: each["status"] for each in status["conditions"]}
        if states["Stalled"] == "True":
            return "Failed"
        return "Current" if states["Ready"] == "True" and states["Reconciling"] == "False" else "InProgress"

    def _create_job(self, obj: Raw) -> None:
        name = obj["metadata"]["name"]
        assert name not in self.jobs, "409: it exists"
        metadata = {**obj["metadata"], "uid": f"uid-{len(self.started)}", "creationTimestamp": self.now.isoformat()}
        self.jobs[name] = {**obj, "metadata": metadata, "status": {"conditions": []}}
        self.pods[name] = []
        self.started.append(_uri(obj))

    def _remove(self, name: str) -> None:
        self.jobs.pop(name, None)
        self.pods.pop(name, None)

    def _add_pod(self, uri: str, status: Raw, phase: str) -> None:
        job = self.job(uri)
        name = job["metadata"]["name"]
        owner = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "controller": True}
        number = len(self.pods[name])
        metadata = {"name": f"{name}-{number}", "uid": f"{name}-{number}", "ownerReferences": [owner]}
        metadata["creationTimestamp"] = (self.now + timedelta(microseconds=number)).isoformat()
        containers = [{"name": "storage-initializer", **status}]
        self.pods[name].append({"metadata": metadata, "status": {"phase": phase, "containerStatuses": containers}})

    def _end(self, uri: str, kind: str) -> None:
        time = self.now.strftime("%Y-%m-%dT%H:%M:%SZ")
        condition = {"type": kind, "status": "True", "lastTransitionTime": time, "at": self.now}
        self.job(uri)["status"]["conditions"].append(condition)


def _uri(job: Raw) -> str:
    uri: str = job["spec"]["template"]["spec"]["containers"][0]["args"][1]
    return uri
