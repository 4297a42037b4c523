"""Calls to the API server: plain JSON objects in and out, every call bounded in time, every failure a ClusterFault.

The official client carries credentials and connections; its generated models are not used, because an object that a
newer API server answers must not lose the fields that they do not know.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
from kubernetes.aio.client import ApiClient

from embedding_operator.constants import FIELD_MANAGER
from embedding_operator.errors import ClusterFault, Conflict, Denied, LeaseLost, NotFound, Unavailable
from embedding_operator.shell.resources import Resource

__all__ = ["Api", "Json"]

Json = dict[str, Any]
"""An object of the API as it is."""

_FAULTS: Mapping[int, type[ClusterFault]] = {
    401: Unavailable,  # a token just rotated: the client reads the new one
    404: NotFound,
    409: Conflict,
    410: Unavailable,
    429: Unavailable,
}


class Api:
    """One connection pool to one API server.

    `may_write` is asked before every write; when it says no, LeaseLost is raised instead. So a process that slept
    through the end of its Lease writes nothing when it wakes up.
    """

    def __init__(
        self, client: ApiClient, *, timeout_seconds: float, may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._client = client
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._may_write = may_write

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """One object. Raises NotFound."""
        return await self._call("get", resource, "GET", resource.path(namespace, name))

    async def find(self, resource: Resource, namespace: str | None = None, *, labels: str | None = None) -> list[Json]:
        """The objects of a namespace, or of all; `labels` is a selector, `key=value`."""
        query = {"labelSelector": labels} if labels else None
        answer = await self._call("list", resource, "GET", resource.path(namespace), query=query)
        # Items of a list carry no kind of their own, except those of custom resources.
        return [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in answer["items"]]

    async def apply(self, resource: Resource, obj: Json) -> Json:
        """Server-side apply: create the object or change what we own of it, taking fields over from other managers."""
        path = resource.path(obj["metadata"].get("namespace"), obj["metadata"]["name"])
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._call(
            "patch", resource, "PATCH", path, query=query, body=obj, content_type="application/apply-patch+yaml"
        )

    async def create(self, resource: Resource, obj: Json) -> Json:
        """Raises Conflict when there is one of that name."""
        return await self._call("create", resource, "POST", resource.path(obj["metadata"].get("namespace")), body=obj)

    async def replace(self, resource: Resource, obj: Json, *, subresource: str | None = None) -> Json:
        """Put the object, or its subresource, in place of the one that was read. Raises Conflict when that changed."""
        path = resource.path(obj["metadata"].get("namespace"), obj["metadata"]["name"], subresource)
        verb = f"update {subresource}" if subresource else "update"
        return await self._call(verb, resource, "PUT", path, query={"fieldManager": FIELD_MANAGER}, body=obj)

    async def delete(self, resource: Resource, namespace: str | None, name: str, *, uid: str | None = None) -> None:
        """Delete the object, with a uid only that one. Raises NotFound, and Conflict when its uid is another."""
        # A server that gets a body reads no options from the query.
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._call("delete", resource, "DELETE", resource.path(namespace, name), body=options)

    async def served(self, group: str, version: str) -> frozenset[str]:
        """The plural names that this group has there, read where kopf reads them."""
        groups = await self._send("GET", "/apis")
        if group not in {each["name"] for each in groups["groups"]}:
            return frozenset()
        try:
            known = await self._send("GET", f"/apis/{group}/{version}")
        except NotFound:
            return frozenset()
        return frozenset(each["name"] for each in known["resources"])

    async def _call(
        self,
        verb: str,
        resource: Resource,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        if verb not in resource.verbs:
            raise ValueError(f"the operator asks for no right to {verb} {resource.plural}: add it to resources.py")
        if method != "GET" and not self._may_write():
            raise LeaseLost(f"not leading any more: {method} {path} is not sent")
        return await self._send(method, path, query=query, body=body, content_type=content_type)

    async def _send(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        request = await self._client.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=body,
            auth_settings=["BearerToken"],
        )
        try:
            response = await self._client.call_api(*request, _request_timeout=self._timeout)
            text = await response.read()
        except (TimeoutError, aiohttp.ClientError) as error:
            raise Unavailable(f"{method} {path}: {str(error) or 'no answer in time'}") from error
        if response.status >= 300:  # noqa: PLR2004 HTTP's own line between done and not done
            raise _fault(f"{method} {path}", response.status, text, response.getheader("Retry-After"))
        answer: Json = json.loads(text)
        return answer


def _fault(call: str, status: int, text: bytes, retry_after: str | None) -> ClusterFault:
    default = Unavailable if status >= 500 else Denied  # noqa: PLR2004 HTTP's own line between theirs and ours
    kind = _FAULTS.get(status, default)
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return kind(f"{call}: {status} {_words(text)}", retry_after=seconds)


def _words(text: bytes) -> str:
    """The message of a Status object; of anything else, a proxy's page perhaps, its beginning."""
    try:
        message = json.loads(text)["message"]
    except (ValueError, KeyError, TypeError):
        message = text[:200].decode(errors="replace")
    return " ".join(str(message).split())
