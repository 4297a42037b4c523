"""The fake API server over HTTP, on a port of its own: discovery, lists in pages, watches, and every write.

`async with fake_api() as api` starts one; `api.url` is its address, `api.configuration` what the official client takes.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web
from aiohttp.test_utils import TestServer
from kubernetes.aio.client import ApiClient, Configuration

from support.fake_api.errors import ApiError
from support.fake_api.faults import ConnectionLost, Faults, Request
from support.fake_api.kinds import BUILT_IN, Kind, kinds_of_crds
from support.fake_api.selectors import selects
from support.fake_api.store import Change, Store
from support.fake_api.watching import Watch

__all__ = ["FakeApi", "fake_api"]

Json = dict[str, Any]
Webhook = Callable[[Json], Json | None]

_CRDS = Path(__file__).parents[3] / "crds"
_VERBS = {"POST": "create", "PATCH": "patch", "PUT": "update", "DELETE": "delete", "GET": "get"}


class FakeApi:
    """One API server. The methods that tests call as somebody else (`create`, `apply`, ...) leave no `requests`."""

    def __init__(self, kinds: Iterable[Kind], now: Callable[[], datetime]) -> None:
        self.store = Store(kinds, now, self._admitted)
        self.store.on_change = self._changed
        self.requests: list[Request] = []
        self.faults = Faults()
        self.url = ""
        self.version = {"major": "1", "minor": "35", "gitVersion": "v1.35.4"}
        self._is_down = False
        self._webhooks: list[Webhook] = []
        self._watches: set[Watch] = set()
        self._pages: dict[str, tuple[int, list[Json]]] = {}
        self._garbage: asyncio.Handle | None = None

    @property
    def configuration(self) -> Configuration:
        configuration = Configuration()
        configuration.host = self.url
        return configuration

    @property
    def writes(self) -> list[Request]:
        return [request for request in self.requests if request.is_write]

    def client(self) -> ApiClient:
        return ApiClient(self.configuration)

    def create(self, obj: Json, manager: str = "somebody") -> Json:
        return self.store.create(self.store.kind_of(obj), obj, manager)

    def apply(self, obj: Json, manager: str = "somebody", *, force: bool = False) -> Json:
        return self.store.apply(self.store.kind_of(obj), obj, manager, force=force)

    def replace(self, obj: Json, manager: str = "somebody", *, subresource: str = "") -> Json:
        return self.store.replace(self.store.kind_of(obj), obj, manager, subresource)

    def get(self, plural: str, name: str, namespace: str | None = "default") -> Json | None:
        """None when there is none."""
        kind = self._kind(plural)
        try:
            return self.store.get(kind, namespace if kind.namespaced else None, name)
        except ApiError:
            return None

    def list(self, plural: str, namespace: str | None = None) -> list[Json]:
        return list(self.store.all(self._kind(plural), namespace))

    def delete(self, plural: str, name: str, namespace: str | None = "default", **options: Any) -> None:
        kind = self._kind(plural)
        self.store.delete(kind, namespace if kind.namespaced else None, name, **options)

    def mutate(self, webhook: Webhook) -> None:
        """Call a webhook for each write: it returns another object, None to leave it, or raises ApiError."""
        self._webhooks.append(webhook)

    def compact(self) -> None:
        """Old versions and pages are too old from now on; watches go on."""
        self.store.compact()
        self._pages.clear()

    def go_down(self) -> None:
        """Cut every connection until `come_up`."""
        self._is_down = True
        self.disconnect_watches()

    def come_up(self) -> None:
        self._is_down = False

    def disconnect_watches(self) -> None:
        """End every watch, as a server does that restarts."""
        for watch in self._watches:
            watch.end()

    def send_bookmarks(self) -> None:
        """To the watches that allow them; the real one sends them each minute."""
        for watch in self._watches:
            watch.bookmark(self.store.version)

    def watches(self, plural: str) -> int:
        return sum(1 for watch in self._watches if watch.kind.plural == plural)

    def forget(self, plural: str) -> None:
        """No longer serve a kind, as when its CRD is deleted."""
        kind = self._kind(plural)
        del self.store.kinds[kind.api_version, plural]

    async def serve(self, http: web.Request) -> web.StreamResponse:
        try:
            return await self._serve(http)
        except ApiError as error:
            headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
            return web.json_response(error.status(), status=error.code, headers=headers)
        except ConnectionLost:
            if http.transport:
                http.transport.abort()
            raise asyncio.CancelledError from None

    async def _serve(self, http: web.Request) -> web.StreamResponse:
        if self._is_down:
            raise ConnectionLost
        if (known := self._discovery(http.path)) is not None:
            return web.json_response(known)
        kind, namespace, name, subresource = self._route(http.path)
        verb = _VERBS[http.method]
        if verb == "get" and not name:
            verb = "watch" if http.query.get("watch", "") in {"1", "true"} else "list"
        resource = f"{kind.plural}/{subresource}" if subresource else kind.plural
        request = Request(verb, resource, namespace, name or None, http.headers.get("User-Agent", ""), kind.group)
        self.requests.append(request)
        await self.faults.meet(request)
        if verb == "watch":
            return await self._watch(http, kind, namespace)
        status, answer = await self._answer(http, kind, request, subresource)
        await self.faults.meet(request, after=True)
        return web.json_response(answer, status=status)

    async def _answer(self, http: web.Request, kind: Kind, request: Request, subresource: str) -> tuple[int, Json]:
        body: Json = yaml.safe_load(await http.text()) if http.body_exists else {}
        if request.is_write and request.verb != "delete" and request.namespace:
            body.setdefault("metadata", {}).setdefault("namespace", request.namespace)
        manager = http.query.get("fieldManager") or request.user_agent.partition("/")[0] or "unknown"
        match request.verb:
            case "list":
                return 200, self._page(kind, request.namespace, http.query)
            case "get":
                return 200, self.store.get(kind, request.namespace, request.name or "")
            case "delete":
                return 200, self._delete(kind, request, {**body, **http.query})
            case "create":
                return 201, self.store.create(kind, body, manager)
            case "update":
                return 200, self.store.replace(kind, body, manager, subresource)
        return self._patch(http, kind, request, body, manager=manager, subresource=subresource)

    def _delete(self, kind: Kind, request: Request, options: Mapping[str, Any]) -> Json:
        gone = self.store.delete(
            kind,
            request.namespace,
            request.name or "",
            preconditions=options.get("preconditions", {}),
            policy=options.get("propagationPolicy", "Background"),
        )
        details = {"name": request.name, "group": kind.group, "kind": kind.plural, "uid": gone["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": details}

    def _patch(
        self, http: web.Request, kind: Kind, request: Request, body: Json, *, manager: str, subresource: str
    ) -> tuple[int, Json]:
        namespace, name = request.namespace, request.name or ""
        if http.content_type == "application/apply-patch+yaml":
            is_new = not self.store.has(kind, namespace, name)
            force = http.query.get("force") == "true"
            obj = self.store.apply(kind, body, manager, force=force, subresource=subresource)
            return (201 if is_new else 200), obj
        if http.content_type == "application/merge-patch+json":
            obj = _merge_patched(self.store.get(kind, namespace, name), body)
            return 200, self.store.replace(kind, obj, manager, subresource)
        raise ApiError(415, "UnsupportedMediaType", f"the fake API server has no patches of {http.content_type}")

    def _page(self, kind: Kind, namespace: str | None, query: Mapping[str, str]) -> Json:
        if token := query.get("continue"):
            if token not in self._pages:
                raise ApiError(410, "Expired", "The provided continue parameter is too old")
            version, items = self._pages[token]
        else:
            version = self.store.version
            items = [obj for obj in self.store.all(kind, namespace) if selects(query)(obj)]
        limit = int(query.get("limit", 0)) or len(items)
        meta: Json = {"resourceVersion": str(version)}
        if rest := items[limit:]:
            meta["continue"] = secrets.token_hex(8)
            meta["remainingItemCount"] = len(rest)
            self._pages[meta["continue"]] = version, rest
        return {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": meta, "items": items[:limit]}

    async def _watch(self, http: web.Request, kind: Kind, namespace: str | None) -> web.StreamResponse:
        query = http.query
        since = int(query.get("resourceVersion") or 0)
        watch = Watch(kind, namespace, selects(query), query.get("allowWatchBookmarks") == "true")
        if not since:
            watch.start(self.store.all(kind, namespace))
            if query.get("sendInitialEvents") == "true":
                watch.bookmark(self.store.version, annotations={"k8s.io/initial-events-end": "true"})
        elif since < self.store.oldest:
            watch.fail(ApiError(410, "Expired", f"too old resource version: {since} ({self.store.oldest})").status())
        for change in self.store.history if since else ():
            if change.version > since:
                watch.tell(change)
        self._watches.add(watch)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        ending = asyncio.get_running_loop().call_later(
            float(query.get("timeoutSeconds") or 3600), self._time_out, watch
        )
        try:
            await response.prepare(http)
            async for line in watch.lines():
                await response.write(line)
        finally:
            ending.cancel()
            self._watches.discard(watch)
        if self._is_down:
            raise ConnectionLost
        return response

    def _time_out(self, watch: Watch) -> None:
        watch.bookmark(self.store.version)
        watch.end()

    def _changed(self, change: Change) -> None:
        for watch in self._watches:
            watch.tell(change)
        if change.before is None or change.after is None or "deletionTimestamp" in change.after["metadata"]:
            self._garbage = self._garbage or asyncio.get_running_loop().call_soon(self._collect_garbage)

    def _collect_garbage(self) -> None:
        self._garbage = None
        self.store.collect_garbage()

    def _admitted(self, obj: Json) -> Json:
        for webhook in self._webhooks:
            obj = webhook(obj) or obj
        return obj

    def _kind(self, plural: str) -> Kind:
        return next(kind for kind in self.store.kinds.values() if kind.plural == plural)

    def _route(self, path: str) -> tuple[Kind, str | None, str, str]:
        """Kind, namespace, name and subresource, the last two empty where the path has none."""
        parts = path.strip("/").split("/")
        version, rest = ("/".join(parts[1:2]), parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        namespace = None
        if rest[:1] == ["namespaces"] and len(rest) > 2:  # /namespaces/NAME is the namespace itself
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource, *_ = [*rest, "", "", ""]
        kind = self.store.kinds.get((version, plural))
        if kind is None or subresource not in {"", "status" if kind.has_status else ""}:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return kind, namespace, name, subresource

    def _discovery(self, path: str) -> Json | None:
        kinds = self.store.kinds.values()
        if path == "/version":
            return self.version
        if path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            return {
                "kind": "APIGroupList",
                "groups": list({each.group: _group(each) for each in kinds if each.group}.values()),
            }
        if served := [kind for kind in kinds if kind.root == path]:
            return {"kind": "APIResourceList", "resources": [each for kind in served for each in _resources(kind)]}
        return None


@asynccontextmanager
async def fake_api(
    crds: Path = _CRDS,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    namespaces: Iterable[str] = ("default",),
) -> AsyncIterator[FakeApi]:
    """One that listens on a port of its own and serves the built-in kinds and those of the CRD files."""
    api = FakeApi((*BUILT_IN, *kinds_of_crds(crds)), now)
    for name in namespaces:
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    app = web.Application(client_max_size=16 << 20)
    app.router.add_route("*", "/{path:.*}", api.serve)
    async with TestServer(app) as server:
        api.url = str(server.make_url("")).rstrip("/")
        yield api
        api.disconnect_watches()
        api.faults.clear()


def _group(kind: Kind) -> Json:
    version = {"groupVersion": kind.api_version, "version": kind.api_version.rpartition("/")[2]}
    return {"name": kind.group, "versions": [version], "preferredVersion": version}


def _resources(kind: Kind) -> list[Json]:
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    base = {"singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind}
    status = [{**base, "name": f"{kind.plural}/status", "verbs": ["get", "patch", "update"]}] if kind.has_status else []
    return [{**base, "name": kind.plural, "verbs": verbs}, *status]


def _merge_patched(old: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        merged[name] = _merge_patched(merged.get(name), value)
        if value is None:
            del merged[name]
    return merged
