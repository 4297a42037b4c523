"""A small API server in this process: what the operator's shell relies on of the real one, and nothing else.

resourceVersions and 409s, server-side apply, status as a subresource, label selectors, watches that can be cut. Every
request is written down, and any can be made to fail.
"""

import asyncio
import copy
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from embedding_operator.shell.resources import RESOURCES, Resource

__all__ = ["Call", "FakeKubernetes", "fake_kubernetes"]

Json = dict[str, Any]

_NAMESPACES = Resource("v1", "Namespace", "namespaces", frozenset(), namespaced=False)  # kopf wants to know of them
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete"}


@dataclass(frozen=True)
class Call:
    """One request, in the words of RBAC; `update status` is of the subresource."""

    verb: str
    plural: str
    namespace: str | None = None
    name: str | None = None

    @property
    def writes(self) -> bool:
        return self.verb.partition(" ")[0] in _VERBS.values()


@dataclass
class _Trouble:
    verb: str
    plural: str
    left: int
    answer: Callable[[], Awaitable[web.StreamResponse | None]]
    """None: the call is served as usual."""


@dataclass
class FakeKubernetes:
    """Objects by (plural, namespace, name), and what was asked for."""

    objects: dict[tuple[str, str | None, str], Json] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    events: list[Json] = field(default_factory=list)
    unknown: set[str] = field(default_factory=set)
    """Plurals that discovery does not have."""
    configuration: Configuration = field(default_factory=Configuration)
    _versions: Iterator[int] = field(default_factory=lambda: count(1))
    _troubles: list[_Trouble] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)
    _watchers: list[tuple[str, asyncio.Queue[Json | None]]] = field(default_factory=list)

    def put(self, obj: Json) -> Json:
        """Have an object there, made by somebody else."""
        resource = RESOURCES[obj["apiVersion"], obj["kind"]]
        meta = obj["metadata"]
        key = (resource.plural, meta.get("namespace"), meta["name"])
        return self._store(key, copy.deepcopy(obj))

    def get(self, plural: str, name: str, namespace: str | None = "default") -> Json | None:
        return self.objects.get((plural, namespace, name))

    def remove(self, plural: str, name: str, namespace: str | None = "default") -> None:
        """Have it gone, by somebody else's hand."""
        gone = self.objects.pop((plural, namespace, name))
        self._tell(plural, "DELETED", gone)

    def fail(self, verb: str, plural: str, status: int, *, times: int = 1, retry_after: int | None = None) -> None:
        """Answer the next such calls with this status."""
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}

        async def answer() -> web.Response:
            body = {"kind": "Status", "code": status, "message": f"made to fail with {status}"}
            return web.json_response(body, status=status, headers=headers)

        self._troubles.append(_Trouble(verb, plural, times, answer))

    def hang(self, verb: str, plural: str) -> None:
        """Leave the next such call without an answer."""

        async def answer() -> web.Response:
            await self._over.wait()
            return web.Response(status=503)

        self._troubles.append(_Trouble(verb, plural, 1, answer))

    def before(self, verb: str, plural: str, act: Callable[[], object]) -> None:
        """Let something happen just before the next such call is served."""

        async def answer() -> None:
            act()

        self._troubles.append(_Trouble(verb, plural, 1, answer))

    def cut_watches(self) -> None:
        """End every watch, as a server does that restarts."""
        for _, queue in self._watchers:
            queue.put_nowait(None)

    def watches(self, plural: str) -> int:
        return sum(1 for each, _ in self._watchers if each == plural)

    @property
    def writes(self) -> list[Call]:
        return [call for call in self.calls if call.writes]

    def client(self) -> ApiClient:
        return ApiClient(self.configuration)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.path in {"/api", "/apis"} or request.path in {f"/{_root(each)}" for each in RESOURCES.values()}:
            return web.json_response(self._discovery(request.path))
        call = _call_of(request)
        self.calls.append(call)
        if (trouble := self._trouble(call)) and (answer := await trouble.answer()):
            return answer
        if call.verb == "watch":
            return await self._watch(request, call)
        return self._answer(call, request, await request.json() if request.body_exists else {})

    def _trouble(self, call: Call) -> _Trouble | None:
        for each in self._troubles:
            if (each.verb, each.plural) == (call.verb, call.plural):
                each.left -= 1
                if not each.left:
                    self._troubles.remove(each)
                return each
        return None

    def _answer(self, call: Call, request: web.Request, body: Json) -> web.Response:
        if call.verb in {"list", "create"}:
            found = {"metadata": {"resourceVersion": "1"}, "items": self._find(call, request)}
            return web.json_response(found) if call.verb == "list" else self._create(call, body)
        key = (call.plural, call.namespace, call.name or "")
        present = self.objects.get(key)
        if call.verb == "patch":
            return web.json_response(self._apply(key, present, body))
        if present is None:
            return _status(404, f"{call.plural} {call.name!r} not found")
        if call.verb == "delete":
            return self._delete(call, present, body)
        if call.verb.startswith("update"):
            if (
                body["metadata"].get("resourceVersion", present["metadata"]["resourceVersion"])
                != present["metadata"]["resourceVersion"]
            ):
                return _status(409, "the object has been modified; please apply your changes to the latest version")
            changed = {**present, "status": body["status"]} if call.verb == "update status" else body
            present = self._store(key, changed)
        return web.json_response(present)

    def _create(self, call: Call, body: Json) -> web.Response:
        meta = body["metadata"]
        name = meta.get("name") or f"{meta['generateName']}{next(self._versions)}"
        if call.plural == "events":
            self.events.append(body)
            return web.json_response(body, status=201)
        key = (call.plural, call.namespace, name)
        if key in self.objects:
            return _status(409, f"{call.plural} {name!r} already exists")
        return web.json_response(self._store(key, body), status=201)

    def _delete(self, call: Call, present: Json, options: Json) -> web.Response:
        uid = present["metadata"]["uid"]
        wanted = options.get("preconditions", {}).get("uid", uid)
        if wanted != uid:
            return _status(409, f"the UID in the precondition ({wanted}) is not that of the object ({uid})")
        self.remove(call.plural, call.name or "", call.namespace)
        return web.json_response(present)

    def _apply(self, key: tuple[str, str | None, str], present: Json | None, body: Json) -> Json:
        return self._store(key, _merged(present or {}, body))

    def _store(self, key: tuple[str, str | None, str], obj: Json) -> Json:
        present = self.objects.get(key)
        meta = obj["metadata"] = dict(obj["metadata"])
        if present is not None:
            meta["uid"], meta["resourceVersion"] = present["metadata"]["uid"], present["metadata"]["resourceVersion"]
            if obj == present:
                return present
        meta.setdefault("uid", f"uid-{next(self._versions)}")
        meta.setdefault("generation", 1)
        meta["resourceVersion"] = str(next(self._versions))
        self.objects[key] = obj
        self._tell(key[0], "MODIFIED" if present else "ADDED", obj)
        return obj

    def _find(self, call: Call, request: web.Request) -> list[Json]:
        wanted, has_value, value = request.query.get("labelSelector", "").partition("=")
        found = []
        for (plural, namespace, _), obj in sorted(self.objects.items(), key=str):
            labels = obj["metadata"].get("labels", {})
            if plural != call.plural or call.namespace not in (None, namespace):
                continue
            if not wanted or (labels.get(wanted) == value if has_value else wanted in labels):
                found.append(obj)
        return found

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        entry = (call.plural, asyncio.Queue[Json | None]())
        self._watchers.append(entry)
        try:
            while (event := await entry[1].get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._watchers.remove(entry)
        return response

    def _tell(self, plural: str, kind: str, obj: Json) -> None:
        for each, queue in self._watchers:
            if each == plural:
                queue.put_nowait({"type": kind, "object": copy.deepcopy(obj)})

    def _discovery(self, path: str) -> Json:
        if path == "/api":
            return {"versions": ["v1"]}
        known = [each for each in (*RESOURCES.values(), _NAMESPACES) if each.plural not in self.unknown]
        if path == "/apis":
            return {"groups": [_group(each) for each in {each.group: each for each in known if each.group}.values()]}
        return {
            "resources": [
                {
                    "name": each.plural,
                    "kind": each.kind,
                    "singularName": each.kind.lower(),
                    "namespaced": each.namespaced,
                    "verbs": ["get", "list", "watch", "patch"],
                }
                for each in known
                if f"/{_root(each)}" == path
            ]
        }


@asynccontextmanager
async def fake_kubernetes() -> AsyncIterator[FakeKubernetes]:
    """One that listens on a port of its own."""
    fake = FakeKubernetes()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.serve)
    async with TestServer(app) as server:
        fake.configuration.host = str(server.make_url("")).rstrip("/")
        yield fake
        fake.cut_watches()
        fake._over.set()


def _call_of(request: web.Request) -> Call:
    parts = request.path.strip("/").split("/")
    parts = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = None
    if parts[0] == "namespaces" and len(parts) > 2:
        namespace, parts = parts[1], parts[2:]
    plural, name, subresource = (*parts, None, None)[:3]
    verb = _VERBS.get(request.method) or ("watch" if "watch" in request.query else "get" if name else "list")
    return Call(f"{verb} {subresource}" if subresource else verb, str(plural), namespace, name)


def _root(resource: Resource) -> str:
    return resource.path().strip("/").rpartition("/")[0]


def _group(resource: Resource) -> Json:
    version = {"groupVersion": resource.api_version, "version": resource.version}
    return {"name": resource.group, "versions": [version], "preferredVersion": version}


def _status(code: int, message: str) -> web.Response:
    return web.json_response({"kind": "Status", "code": code, "message": message}, status=code)


def _merged(old: Json, new: Json) -> Json:
    merged = dict(old)
    for name, value in new.items():
        present = merged.get(name)
        merged[name] = _merged(present, value) if isinstance(present, dict) and isinstance(value, dict) else value
    return merged
