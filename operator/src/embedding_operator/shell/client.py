"""Calls to the API server: plain JSON objects in and out, every call bounded in time, every failure a ClusterFault."""

import json
import math
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from embedding_operator.constants import FIELD_MANAGER
from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import Expired, LeaseLost, NotFound, Unavailable
from embedding_operator.kinds import Kind, kind_of
from embedding_operator.shell.answers import fault_of
from embedding_operator.shell.connection import Connection

__all__ = ["Client", "Count", "Json", "Page", "WatchEvent"]

Json = dict[str, Any]
"""An object of the API as it is."""

Count = Callable[[str, str, str], None]
"""Called after each request with its verb, its kind and the HTTP status, or `error`."""

_PAGE = 100  # objects: a page of Deployments is 1 MB, takes 6 MB while it is parsed, and blocks the loop for 10 ms
_SHORTEST_WRITE = 1.0  # seconds that the Lease must leave
_RESTARTS = 3  # of a list whose pages expire while they are read
_SILENCE = 150.0  # seconds without even a bookmark, of which the server sends one a minute: the connection is dead


@dataclass(frozen=True)
class Page:
    """A part of a list, and the version of the whole."""

    items: list[Json]
    resource_version: str


@dataclass(frozen=True)
class WatchEvent:
    """ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Json


class Client:
    """Calls by verb. One that the kind's row in `kinds` does not list is a ValueError: the chart gives no right to it.

    `seconds_left` says how long this process surely leads. A write must end before that; it is not sent
    when less than a second is left (LeaseLost). So a process that was stopped writes nothing when it continues,
    except one request that was being sent: the API server answers 409, as it names the version that was read.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        timeout_seconds: float,
        seconds_left: Callable[[], float] = lambda: math.inf,
        count: Count = lambda *_: None,
    ) -> None:
        self._connection = connection
        self._timeout = timeout_seconds
        self._seconds_left = seconds_left
        self._count = count

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """One object. Raises NotFound."""
        return await self._call("get", kind, "GET", namespace, name)

    async def pages(self, kind: Kind, namespace: str | None = None, **selectors: str | None) -> AsyncIterator[Page]:
        """The objects of a namespace, or of all, page by page. Raises Expired when it took too long: begin anew."""
        query = {"limit": str(_PAGE), **_selected(selectors)}
        while True:
            answer = await self._call("list", kind, "GET", namespace, query=query)
            # Items of a list do not say what they are, except those of custom resources.
            items = [{**item, "apiVersion": kind.api_version, "kind": kind.name} for item in answer.pop("items")]
            yield Page(items, answer["metadata"]["resourceVersion"])
            if not (token := answer["metadata"].get("continue")):
                return
            query["continue"] = token

    async def list(self, kind: Kind, namespace: str | None = None, **selectors: str | None) -> list[Json]:
        """All of them at once; `labels` and `fields` are selectors, such as `key=value`."""
        for _ in range(_RESTARTS):
            try:
                return [item async for page in self.pages(kind, namespace, **selectors) for item in page.items]
            except Expired as expired:
                last = expired
        raise Unavailable(str(last))

    async def watch(
        self, kind: Kind, namespace: str | None, since: str, *, seconds: int, labels: str | None = None
    ) -> AsyncIterator[WatchEvent]:
        """Changes after that version, until the server ends the watch, after `seconds` at the latest.

        Raises Expired, and Unavailable when nothing arrives for a while: bookmarks come every minute.
        """
        query = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": since}
        query |= {"timeoutSeconds": str(seconds), **_selected({"labels": labels})}
        limits = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=_SILENCE)
        call, path = f"watch {kind.plural}", kind.path(namespace)
        try:
            async with self._connection.request("GET", path, query=query, limits=limits) as response:
                self._count("watch", kind.plural, str(response.status))
                if response.status >= 300:  # noqa: PLR2004 HTTP's own line between done and not done
                    raise fault_of(call, response.status, await response.read(), response.headers.get("Retry-After"))
                async for line in _lines(response.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        status = event["object"]
                        raise fault_of(call, status.get("code", 500), json.dumps(status).encode())
                    yield WatchEvent(event["type"], event["object"])
        except (TimeoutError, aiohttp.ClientError, ValueError) as error:
            raise Unavailable(f"The watch of {kind.plural} broke: {_said(error, self._timeout)}") from error

    async def create(self, kind: Kind, obj: Json) -> Json:
        """Create an object. Raises AlreadyExists."""
        namespace, name = _named(obj)
        return await self._call("create", kind, "POST", namespace, body=obj, of=name)

    async def replace(self, kind: Kind, obj: Json, *, subresource: str | None = None) -> Json:
        """Put the object, or its subresource, in place of the one that was read. Raises Conflict when that changed."""
        namespace, name = _named(obj)
        verb = f"update {subresource}" if subresource else "update"
        return await self._call(verb, kind, "PUT", namespace, name, subresource=subresource, body=obj)

    async def scale(self, ref: ObjectRef, resource_version: str, replicas: int) -> Json:
        """Change `spec.replicas` of that very object at that version, and nothing else. Raises Conflict."""
        meta = {"uid": ref.uid, "resourceVersion": resource_version}
        return await self._merge(ref, {"metadata": meta, "spec": {"replicas": replicas}})

    async def annotate(self, ref: ObjectRef, annotations: Mapping[str, str | None]) -> Json:
        """Set annotations of that very object, or remove those that are None. Raises NotFound, Conflict."""
        return await self._merge(ref, {"metadata": {"uid": ref.uid, "annotations": annotations}})

    async def delete(self, ref: ObjectRef) -> None:
        """That very object, by its UID, and what it owns in the background. Raises NotFound, Conflict."""
        if ref.uid is None:
            raise ValueError(f"{ref}: only an object that was seen, with its UID, may be deleted")
        body = {"preconditions": {"uid": ref.uid}, "propagationPolicy": "Background"}
        await self._call("delete", kind_of(ref.api_version, ref.kind), "DELETE", ref.namespace, ref.name, body=body)

    async def served(self, group: str, version: str) -> frozenset[str]:
        """The plural names that the API server has in a group."""
        try:
            known = await self._send("discover", group, "GET", f"/apis/{group}/{version}", f"discover {group}")
        except NotFound:
            return frozenset()
        return frozenset(each["name"] for each in known["resources"])

    async def server_version(self) -> tuple[int, int]:
        """Major and minor version of the API server; 1.35 may be given as `35+`."""
        found = await self._send("get", "version", "GET", "/version", "get its version")
        try:
            return int(found["major"]), int(found["minor"].rstrip("+"))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unavailable(f"The API server's version cannot be read: {str(found)[:200]}") from error

    async def _merge(self, ref: ObjectRef, patch: Json) -> Json:
        kind = kind_of(ref.api_version, ref.kind)
        content_type = "application/merge-patch+json"
        return await self._call("patch", kind, "PATCH", ref.namespace, ref.name, body=patch, content_type=content_type)

    async def _call(
        self,
        verb: str,
        kind: Kind,
        method: str,
        namespace: str | None,
        name: str | None = None,
        *,
        of: str | None = None,
        subresource: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        if verb not in kind.verbs:
            raise ValueError(f"the operator asks for no right to {verb} {kind.plural}: add it to kinds.py")
        what = f"{verb} {ObjectRef(kind.api_version, kind.name, namespace, name or of or '')}".rstrip(" /")
        path = kind.path(namespace, name, subresource)
        return await self._send(
            verb, kind.plural, method, path, what, query=query, body=body, content_type=content_type
        )

    async def _send(
        self,
        verb: str,
        plural: str,
        method: str,
        path: str,
        what: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        seconds = self._timeout
        if method not in {"GET", "DELETE"}:
            query = {**(query or {}), "fieldManager": FIELD_MANAGER}
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        if method != "GET":
            left = self._seconds_left()
            seconds = min(seconds, left)
            if left < _SHORTEST_WRITE:
                raise LeaseLost(f"this process is not the leader: {what} was not sent")
        code = "error"
        try:
            async with self._connection.request(
                method,
                path,
                query=query,
                body=data,
                content_type=content_type,
                limits=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                code, text = str(response.status), await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Unavailable(f"The API server gave no answer to {what}: {_said(error, seconds)}") from error
        finally:
            self._count(verb, plural, code)
        if response.status >= 300:  # noqa: PLR2004 HTTP's own line between done and not done
            raise fault_of(what, response.status, text, response.headers.get("Retry-After"))
        try:
            answer: Json = json.loads(text)
        except ValueError as error:
            raise Unavailable(f"The answer to {what} is not JSON: a proxy may have answered in its place") from error
        return answer


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines, however long: aiohttp's own are cut off at the size of its buffer."""
    rest = b""
    async for chunk in content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line:
                yield line


def _selected(selectors: Mapping[str, str | None]) -> dict[str, str]:
    names = {"labels": "labelSelector", "fields": "fieldSelector"}
    return {names[name]: value for name, value in selectors.items() if value}


def _named(obj: Json) -> tuple[str | None, str]:
    meta = obj["metadata"]
    return meta.get("namespace"), meta.get("name") or meta.get("generateName", "")


def _said(error: BaseException, seconds: float) -> str:
    return f"none within {seconds:.0f} s" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
