"""What is in the cluster, and the carrying out of a plan there."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from embedding_operator.constants import FIELD_MANAGER, GROUP, SERVICE_LABEL, VERSION
from embedding_operator.core.checks import secret_keys_needed
from embedding_operator.core.observed import ObjectRef, Observed
from embedding_operator.core.ownership import is_controlled_by
from embedding_operator.core.plan import EventNote, Plan
from embedding_operator.errors import ClusterFault, Conflict, NameTaken, NotFound
from embedding_operator.settings import Settings
from embedding_operator.shell.api import Api, Json
from embedding_operator.shell.resources import (
    CLUSTER_STORAGE_CONTAINERS,
    DEPLOYMENTS,
    EVENTS,
    OURS,
    PODS,
    SECRETS,
    SERVICES,
    STORAGE_CONTAINERS,
    Resource,
    resource_of,
)

__all__ = ["Cluster"]

_log = logging.getLogger(__name__)

_LONGEST_MESSAGE = 1024  # bytes of an Event's message that the API server takes


class Cluster:
    """Reads live, from the API server itself: nothing here is cached, so nothing is stale."""

    def __init__(self, api: Api, settings: Settings, now: Callable[[], datetime]) -> None:
        self._api = api
        self._settings = settings
        self._now = now

    async def get(self, ref: ObjectRef) -> Json | None:
        """The object, or None when there is none, or it is on its way out: what it owns then goes by itself."""
        try:
            raw = await self._api.get(resource_of(ref.api_version, ref.kind), ref.namespace, ref.name)
        except NotFound:
            return None
        return None if raw["metadata"].get("deletionTimestamp") else raw

    async def missing_resources(self) -> list[str]:
        """The custom resources that the API server does not know."""
        return sorted({each.plural for each in OURS} - await self._api.served(GROUP, VERSION))

    async def keys(self, *resources: Resource) -> list[ObjectRef]:
        """Every object of these kinds that this operator looks after."""
        scopes: Sequence[str | None] = self._settings.namespaces or (None,)
        found = await asyncio.gather(
            *(
                self._api.find(resource, scope)
                for resource in resources
                for scope in (scopes if resource.namespaced else (None,))
            )
        )
        return [_ref(raw) for objects in found for raw in objects]

    async def observe(self, raw: Json) -> Observed:
        """All that a plan for this service depends on. Of Secrets, the names of the keys in the few that are named."""
        namespace, name = raw["metadata"]["namespace"], raw["metadata"]["name"]
        ours = f"{SERVICE_LABEL}={name}"
        own, shared, deployments, services, pods = await asyncio.gather(
            self._api.find(STORAGE_CONTAINERS, namespace),
            self._api.find(CLUSTER_STORAGE_CONTAINERS),
            self._api.find(DEPLOYMENTS, namespace, labels=ours),
            self._api.find(SERVICES, namespace, labels=ours),
            self._api.find(PODS, namespace, labels=ours),
        )
        storage_containers = [*own, *shared]
        wanted = sorted(secret_keys_needed(raw, storage_containers))
        keys = await asyncio.gather(*(self._secret_keys(namespace, secret) for secret in wanted))
        return Observed.of(
            storage_containers=storage_containers,
            deployments=deployments,
            services=services,
            pods=pods,
            secrets=dict(zip(wanted, keys, strict=True)),
        )

    async def execute(self, raw: Json, plan: Plan) -> None:
        """Carry out a plan for the service `raw`. What was done before a failure stays: the next plan starts there."""
        for obj in plan.apply:
            await self._check_owner(obj, raw)
        for obj in plan.replace:
            await self._api.replace(resource_of(obj["apiVersion"], obj["kind"]), obj)
            _log.info("%s: took over what others set in the spec of %s", _ref(raw), _ref(obj))
        for obj in plan.apply:
            await self._api.apply(resource_of(obj["apiVersion"], obj["kind"]), obj)
            _log.info("%s: applied %s", _ref(raw), _ref(obj))
        for ref in plan.delete:
            await self._delete(ref)
        if plan.status is not None:
            await self.write_status(raw, plan.status)
        for note in plan.events:
            await self.tell(raw, note)

    async def write_status(self, raw: Json, status: Json) -> None:
        """The whole new status, upon the very version that was read: if that changed, Conflict, and a new plan."""
        resource = resource_of(raw["apiVersion"], raw["kind"])
        try:
            await self._api.replace(resource, {**raw, "status": status}, subresource="status")
        except NotFound:
            _log.info("%s is gone: its status is not written", _ref(raw))

    async def tell(self, raw: Json, note: EventNote) -> None:
        """An Event about the object. It is news, not state: when it cannot be told, the log has it instead."""
        now = self._now().strftime("%Y-%m-%dT%H:%M:%SZ")
        meta = raw["metadata"]
        event = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": meta["namespace"], "generateName": f"{meta['name'][:200]}."},
            "involvedObject": {
                "apiVersion": raw["apiVersion"],
                "kind": raw["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "type": note.type,
            "reason": note.reason,
            "message": note.message.encode()[:_LONGEST_MESSAGE].decode(errors="ignore"),
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._api.create(EVENTS, event)
        except ClusterFault as fault:
            _log.warning("%s: %s: %s (its Event could not be made: %s)", _ref(raw), note.reason, note.message, fault)

    async def _check_owner(self, obj: Json, owner: Json) -> None:
        """Raises NameTaken: an apply would take over whatever has that name."""
        ref = _ref(obj)
        try:
            present = await self._api.get(resource_of(ref.api_version, ref.kind), ref.namespace, ref.name)
        except NotFound:
            return
        if not is_controlled_by(owner["metadata"]["uid"], present):
            raise NameTaken(f"{ref} exists and does not belong to {_ref(owner)}: rename one of them, or delete it")

    async def _delete(self, ref: ObjectRef) -> None:
        try:
            await self._api.delete(resource_of(ref.api_version, ref.kind), ref.namespace, ref.name, uid=ref.uid)
        except (NotFound, Conflict):
            return  # gone; a Conflict means that another object has the name now
        _log.info("deleted %s", ref)

    async def _secret_keys(self, namespace: str, name: str) -> frozenset[str] | None:
        try:
            secret = await self._api.get(SECRETS, namespace, name)
        except NotFound:
            return None
        return frozenset(secret.get("data") or {})


def _ref(raw: Json) -> ObjectRef:
    meta = raw["metadata"]
    return ObjectRef(raw["apiVersion"], raw["kind"], meta.get("namespace"), meta["name"])
