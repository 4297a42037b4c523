"""Carries out plans: their writes in order, then the status, then the Events."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from embedding_operator.core.diff import first_difference
from embedding_operator.core.objects import ObjectRef, Raw, is_controlled_by, kind_ref
from embedding_operator.core.plan import Annotate, Create, Delete, Plan, Replace, Scale, Write
from embedding_operator.core.writes import create_over, ref_of
from embedding_operator.errors import AlreadyExists, Conflict, Denied, Fault, FieldOverridden, LeaseLost, NotFound
from embedding_operator.kinds import SERVICE, Kind
from embedding_operator.shell.client import Client, Json
from embedding_operator.shell.events import EventRecorder
from embedding_operator.shell.store import Store

__all__ = ["Executor"]

_log = logging.getLogger(__name__)

_INVALID = 422
_CONTEST_WRITES, _CONTEST_SECONDS = 4, 60.0
_OF_THE_SERVER = ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields", "selfLink")


class Executor:
    """What a write gives back is in the store at once, so that the next plan starts from it."""

    def __init__(self, client: Client, store: Store, recorder: EventRecorder) -> None:
        self._client = client
        self._store = store
        self._recorder = recorder
        self._contests: dict[str, deque[float]] = {}
        """By the object's UID, when fields of others were taken out of it."""

    async def execute(self, service: Raw, plan: Plan) -> None:
        """Carry out a plan for the service. What was done before a failure stays: the next plan goes on from there.

        Raises ClusterFault, NameTaken, Terminating, LeaseLost; FieldOverridden when all writes are done.
        """
        if plan.is_status_first and plan.status is not None:
            await self.write_status(service, plan.status)
        overridden: FieldOverridden | None = None
        for write in plan.writes:
            try:
                await self._carry_out(write, service)
            except FieldOverridden as fault:  # the others have their effect: a switch, for one
                overridden = overridden or fault
        if overridden is not None:
            raise overridden
        if not plan.is_status_first and plan.status is not None:
            await self.write_status(service, plan.status)
        for event in plan.events:
            await self._recorder.record(service, event)

    async def attempt(self, service: Raw, writes: Sequence[Write]) -> Fault | None:
        """Carry out writes that nothing depends on. Returns what stopped them. Raises Conflict, LeaseLost."""
        try:
            for write in writes:
                await self._carry_out(write, service)
        except (Conflict, LeaseLost):
            raise
        except Fault as fault:
            return fault
        return None

    async def write_status(self, raw: Raw, status: Any) -> None:
        """Put the whole new status on the very version that was read. Raises Conflict if that has changed."""
        kind, ref = kind_ref(raw), ref_of(raw)
        try:
            written = await self._client.replace(kind, {**raw, "status": status}, subresource="status")
        except NotFound:
            _log.info("%s was deleted; not writing its status", ref)
            self._store.delete(kind, ref.namespace, ref.name, uid=ref.uid, version=None)
        except Conflict:
            await self._refresh(ref)
            raise
        else:
            self._store.upsert(kind, written, is_own=True)

    async def _carry_out(self, write: Write, service: Raw) -> None:
        match write:
            case Create(obj):
                await self._create(obj, service)
            case Replace(obj):
                await self._replace(write, service)
                self._check_contest(ref_of(obj), write.removes)
            case Scale(ref, version, replicas):
                await self._scale(ref, version, replicas)
            case Annotate(ref, annotations):
                await self._annotate(ref, annotations)
            case Delete(ref):
                await self._delete(ref)

    async def _create(self, obj: Json, service: Raw) -> None:
        kind, ref = kind_ref(obj), ref_of(obj)
        try:
            created = await self._client.create(kind, obj)
        except AlreadyExists as fault:
            await self._create_over_existing(kind, obj, service, fault)
            return
        self._store.upsert(kind, created, is_own=True)
        _log.info("created %s", ref)

    async def _create_over_existing(self, kind: Kind, obj: Json, service: Raw, fault: AlreadyExists) -> None:
        """The name is taken: adopt the object if its annotation allows it, else raise NameTaken."""
        ref = ref_of(obj)
        try:
            existing = await self._client.get(kind, ref.namespace, ref.name)
        except NotFound:
            raise Conflict(f"{ref} was deleted just now") from fault
        if is_controlled_by(existing, service["metadata"]["uid"]):
            self._store.upsert(kind, existing)  # ours, and without the label that the watch selects by
            raise Conflict(f"{ref} already exists, and was not in the store") from fault
        taking_over = create_over(obj, {**existing, "apiVersion": kind.api_version, "kind": kind.name}, service)
        await self._carry_out(taking_over, service)
        _log.info("took over %s", ref)

    async def _replace(self, write: Replace, service: Raw) -> None:
        obj, kind, ref = write.object, kind_ref(write.object), ref_of(write.object)
        try:
            replaced = await self._client.replace(kind, obj)
        except (Conflict, NotFound) as fault:
            await self._refresh(ref)
            raise Conflict(str(fault)) from fault
        except Denied as fault:
            if not write.recreate or fault.status != _INVALID:
                raise
            _log.info("%s cannot be updated in place; deleting and recreating it: %s", ref, fault)
            await self._delete(ref)
            await self._create(_as_new(kind, obj), service)
            return
        self._store.upsert(kind, replaced)
        _log.info("updated %s", ref)
        if field := first_difference(_as_new(kind, obj), replaced):
            raise FieldOverridden(
                f"{ref} was updated, and its {field} still has another value: an admission webhook overrides it, or "
                "the API server drops it because a feature gate is off. Exempt the object from the webhook, or change "
                "the spec to what the webhook sets"
            )

    def _check_contest(self, ref: ObjectRef, removed: tuple[str, ...]) -> None:
        """Raises FieldOverridden when another controller's fields were removed several times within a minute."""
        now = asyncio.get_running_loop().time()
        self._contests = {uid: times for uid, times in self._contests.items() if times[-1] > now - _CONTEST_SECONDS}
        if not removed:
            return
        times = self._contests.setdefault(ref.uid or "", deque(maxlen=_CONTEST_WRITES))
        times.append(now)
        if len(times) == _CONTEST_WRITES and times[0] > now - _CONTEST_SECONDS:
            raise FieldOverridden(
                f"Another controller sets {', '.join(removed)} of {ref} again whenever the operator removes it. "
                "Find the controller in the object's metadata.managedFields, and exclude the object from it"
            )

    async def _scale(self, ref: ObjectRef, version: str, replicas: int) -> None:
        try:
            scaled = await self._client.scale(ref, version, replicas)
        except (Conflict, NotFound) as fault:
            await self._refresh(ref)
            raise Conflict(str(fault)) from fault
        self._store.upsert(kind_ref(scaled), scaled)
        _log.info("scaled %s to %d", ref, replicas)

    async def _annotate(self, ref: ObjectRef, annotations: Mapping[str, str | None]) -> None:
        try:
            annotated = await self._client.annotate(ref, annotations)
        except (Conflict, NotFound):
            return  # gone, or another of that name
        self._store.upsert(kind_ref(annotated), annotated)

    async def _delete(self, ref: ObjectRef) -> None:
        try:
            await self._client.delete(ref)
        except (NotFound, Conflict):
            _log.info("%s is gone already", ref)
        else:
            _log.info("deleted %s", ref)
        kind = kind_ref({"apiVersion": ref.api_version, "kind": ref.kind})
        self._store.delete(kind, ref.namespace, ref.name, uid=ref.uid, version=None)

    async def _refresh(self, ref: ObjectRef) -> None:
        """Read what changed under us, so that the next plan knows it even if the watch is late."""
        kind = kind_ref({"apiVersion": ref.api_version, "kind": ref.kind})
        try:
            self._store.upsert(kind, await self._client.get(kind, ref.namespace, ref.name))
        except NotFound:
            self._store.delete(kind, ref.namespace, ref.name, uid=None, version=None)


def _without(obj: Json, *names: str) -> Json:
    return {**obj, "metadata": {name: value for name, value in obj["metadata"].items() if name not in names}}


def _as_new(kind: Kind, obj: Json) -> Json:
    """For a POST: without what only the API server sets, nor the addresses that it chose."""
    new = _without(obj, *_OF_THE_SERVER)
    if kind is SERVICE:
        new["spec"] = {name: value for name, value in obj["spec"].items() if name not in {"clusterIP", "clusterIPs"}}
    return {name: value for name, value in new.items() if name != "status"}
