"""What the operator relies on of an API server: scenarios that hold for the fake one and for the real one.

Run by tests/support/test_fake_api.py and by e2e/test_api_scenarios.py, each in a namespace of its own. Where a
controller of the real cluster may write to the same object, a scenario looks at the answers to its own requests only.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

__all__ = ["SCENARIOS", "Api", "Refused"]

Json = dict[str, Any]
Scenario = Callable[["Api"], Awaitable[None]]

_PATHS = {
    "ConfigMap": ("v1", "configmaps"),
    "Deployment": ("apps/v1", "deployments"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "EmbeddingService": ("serving.embeddings.dev/v1alpha1", "embeddingservices"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
}
_APPLY = "application/apply-patch+yaml"
_READ = frozenset({200, 201})


class Refused(Exception):
    """The API server said no."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message


@dataclass(frozen=True)
class Api:
    """The least client: one namespace of one API server. Every method raises Refused."""

    session: aiohttp.ClientSession
    url: str
    namespace: str
    manager: str = "scenario"

    async def create(self, obj: Json) -> Json:
        return await self._call("POST", obj["kind"], body=obj)

    async def get(self, kind: str, name: str) -> Json:
        return await self._call("GET", kind, name)

    async def list(self, kind: str, **query: str) -> Json:
        return await self._call("GET", kind, query=query)

    async def replace(self, obj: Json, subresource: str = "") -> Json:
        return await self._call("PUT", obj["kind"], obj["metadata"]["name"], subresource, body=obj)

    async def apply(self, obj: Json, manager: str = "applier", *, force: bool = False) -> Json:
        query = {"fieldManager": manager, "force": str(force).lower()}
        return await self._call(
            "PATCH", obj["kind"], obj["metadata"]["name"], query=query, body=obj, content_type=_APPLY
        )

    async def merge(self, kind: str, name: str, patch: Json) -> Json:
        """A JSON merge patch."""
        return await self._call("PATCH", kind, name, body=patch, content_type="application/merge-patch+json")

    async def delete(self, kind: str, name: str, policy: str = "Background", **preconditions: str) -> Json:
        options = {"propagationPolicy": policy, "preconditions": preconditions}
        return await self._call("DELETE", kind, name, body=options)

    @asynccontextmanager
    async def watch(self, kind: str, since: str, **query: str) -> AsyncIterator[Callable[[], Awaitable[Json]]]:
        """Within it, each call gives the next event; bookmarks are skipped."""
        asked = {"watch": "1", "resourceVersion": since, "allowWatchBookmarks": "true", **query}
        async with asyncio.timeout(120), self.session.get(self._path(kind), params=asked) as response:

            async def next_event() -> Json:
                while True:
                    event: Json = json.loads(await response.content.readline())
                    if event["type"] != "BOOKMARK":
                        return event

            yield next_event

    async def is_gone(self, kind: str, name: str) -> None:
        """Wait for it."""
        async with asyncio.timeout(120):
            while True:
                try:
                    await self.get(kind, name)
                except Refused as refused:
                    if refused.code == 404:
                        return
                    raise
                await asyncio.sleep(0.1)

    async def _call(
        self,
        method: str,
        kind: str,
        name: str = "",
        subresource: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: Json | None = None,
        content_type: str = "application/json",
    ) -> Json:
        path = "/".join(part for part in (self._path(kind), name, subresource) if part)
        asked = dict(query or {}) if method in {"GET", "PATCH", "DELETE"} else {"fieldManager": self.manager}
        async with self.session.request(
            method, path, params=asked, data=json.dumps(body) if body else None, headers={"Content-Type": content_type}
        ) as response:
            answer: Json = await response.json()
        if response.status not in _READ:
            raise Refused(response.status, answer.get("reason", ""), answer["message"])
        return answer

    def _path(self, kind: str) -> str:
        version, plural = _PATHS[kind]
        root = "apis" if "/" in version else "api"
        return f"{self.url}/{root}/{version}/namespaces/{self.namespace}/{plural}"


def _config(name: str = "one", **metadata: Any) -> Json:
    meta = {"name": name, **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"key": "value"}}


def _service(name: str = "web", **spec: Any) -> Json:
    ports = [{"name": "http", "port": 80}]
    spec = {"selector": {"app": "web"}, "ports": ports, **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _deployment(*containers: Json, **spec: Any) -> Json:
    """Without replicas: nothing runs."""
    labels = {"app": "web"}
    pod = {"containers": list(containers) or [_container()]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def _container(name: str = "main", **fields: Any) -> Json:
    return {"name": name, "image": "registry.example/web:1", **fields}


def _budget() -> Json:
    spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": spec}


def _embedding_service(**spec: Any) -> Json:
    """One that an operator refuses, and so leaves alone but for its status."""
    model = {"storageUri": "hf://owner/name", "tokenSecretRef": {"name": "missing"}}
    meta = {"name": "model"}
    spec = {"model": model, "args": ["--task=nothing"], **spec}
    return {"apiVersion": _PATHS["EmbeddingService"][0], "kind": "EmbeddingService", "metadata": meta, "spec": spec}


def _managers(obj: Json) -> dict[str, Json]:
    return {each["manager"]: each["fieldsV1"] for each in obj["metadata"].get("managedFields", ())}


def _with_managers(obj: Json, *entries: Json) -> Json:
    return {**obj, "metadata": {**obj["metadata"], "managedFields": list(entries)}}


async def _refused(call: Awaitable[Any], code: int, reason: str, *words: str) -> Refused:
    with pytest.raises(Refused) as caught:
        await call
    refused = caught.value
    assert (refused.code, refused.reason) == (code, reason), str(refused)
    assert all(each in refused.message for each in words), refused.message
    return refused


# Create, read, replace, delete


async def create_of_a_name_that_exists_conflicts(api: Api) -> None:
    await api.create(_config())
    await _refused(api.create(_config()), 409, "AlreadyExists", 'configmaps "one" already exists')


async def create_makes_a_name_that_begins_with_generate_name(api: Api) -> None:
    obj = _config()
    obj["metadata"] = {"generateName": "one-"}
    made = await api.create(obj)
    assert made["metadata"]["name"].startswith("one-")
    assert len(made["metadata"]["name"]) == len("one-") + 5


async def create_gives_a_uid_of_its_own(api: Api) -> None:
    uid = "11111111-1111-1111-1111-111111111111"
    made = await api.create(_config(uid=uid, creationTimestamp="2001-01-01T00:00:00Z"))
    assert made["metadata"]["uid"] != uid
    assert made["metadata"]["creationTimestamp"] > "2020"


async def get_of_what_is_not_there_is_not_found(api: Api) -> None:
    await _refused(api.get("Deployment", "none"), 404, "NotFound", 'deployments.apps "none" not found')


async def create_in_a_namespace_that_is_not_there_is_not_found(api: Api) -> None:
    elsewhere = Api(api.session, api.url, "nowhere-at-all")
    await _refused(elsewhere.create(_config()), 404, "NotFound", 'namespaces "nowhere-at-all" not found')


async def replace_with_an_old_version_conflicts(api: Api) -> None:
    made = await api.create(_config())
    await api.replace({**made, "data": {"key": "new"}})
    await _refused(api.replace(made), 409, "Conflict", 'configmaps "one": the object has been modified')


async def replace_with_another_uid_conflicts(api: Api) -> None:
    made = await api.create(_config())
    other = {**made, "metadata": {**made["metadata"], "uid": "11111111-1111-1111-1111-111111111111"}}
    await _refused(api.replace(other), 409, "Conflict", "Precondition failed: UID in precondition: 11111111")


async def replace_without_a_change_keeps_the_version(api: Api) -> None:
    made = await api.create(_config())
    assert (await api.replace(made))["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def replace_of_a_custom_resource_needs_a_version(api: Api) -> None:
    await api.create(_embedding_service())
    words = "metadata.resourceVersion: Invalid value"
    await _refused(api.replace(_embedding_service()), 422, "Invalid", words, "must be specified for an update")


async def delete_with_another_uid_conflicts(api: Api) -> None:
    made = await api.create(_config())
    other = "11111111-1111-1111-1111-111111111111"
    await _refused(api.delete("ConfigMap", "one", uid=other), 409, "Conflict", "the UID in the precondition")
    await api.delete("ConfigMap", "one", uid=made["metadata"]["uid"])


async def delete_of_an_old_version_conflicts(api: Api) -> None:
    made = await api.create(_config())
    await api.replace({**made, "data": {"key": "new"}})
    old = made["metadata"]["resourceVersion"]
    await _refused(
        api.delete("ConfigMap", "one", resourceVersion=old), 409, "Conflict", "the ResourceVersion in the precondition"
    )


async def delete_takes_along_what_is_owned(api: Api) -> None:
    owner = (await api.create(_config("owner")))["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    await api.create(_config("owned", ownerReferences=[reference]))
    await api.delete("ConfigMap", "owner")
    await api.is_gone("ConfigMap", "owned")


async def delete_waits_for_finalizers(api: Api) -> None:
    await api.create(_config(finalizers=["embeddings.dev/test"]))
    await api.delete("ConfigMap", "one")
    held = await api.get("ConfigMap", "one")
    assert held["metadata"]["deletionTimestamp"]
    del held["metadata"]["finalizers"]
    await api.replace(held)
    await api.is_gone("ConfigMap", "one")


async def an_object_has_one_controller(api: Api) -> None:
    owners = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": str(number) * 8, "controller": True}
        for number in (1, 2)
    ]
    words = "Only one reference can have Controller set to true"
    await _refused(api.create(_config(ownerReferences=owners)), 422, "Invalid", words)


async def a_label_value_has_a_syntax(api: Api) -> None:
    await _refused(api.create(_config(labels={"a": "x" * 64})), 422, "Invalid", "metadata.labels")


# Lists and watches


async def list_selects_by_labels(api: Api) -> None:
    await api.create(_config("a", labels={"app": "x", "tier": "1"}))
    await api.create(_config("b", labels={"app": "y"}))
    await api.create(_config("c"))

    async def found(selector: str) -> list[str]:
        items = (await api.list("ConfigMap", labelSelector=selector))["items"]
        return [item["metadata"]["name"] for item in items if item["metadata"]["name"] in {"a", "b", "c"}]

    assert await found("app=x") == ["a"]
    assert await found("app") == ["a", "b"]
    assert await found("app,!tier") == ["b"]
    assert await found("!app") == ["c"]
    assert await found("app in (x, y),tier!=1") == ["b"]


async def list_selects_by_name(api: Api) -> None:
    await api.create(_config("a"))
    await api.create(_config("b"))
    [item] = (await api.list("ConfigMap", fieldSelector="metadata.name=b"))["items"]
    assert item["metadata"]["name"] == "b"


async def pages_of_a_list_are_of_one_version(api: Api) -> None:
    for name in "abc":
        await api.create(_config(name, labels={"app": "x"}))
    first = await api.list("ConfigMap", labelSelector="app=x", limit="2")
    await api.create(_config("d", labels={"app": "x"}))
    await api.delete("ConfigMap", "c")
    token = first["metadata"]["continue"]
    second = await api.list("ConfigMap", labelSelector="app=x", limit="2", **{"continue": token})
    assert [item["metadata"]["name"] for item in first["items"] + second["items"]] == ["a", "b", "c"]
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
    assert not second["metadata"].get("continue")


async def watch_tells_what_happened_since(api: Api) -> None:
    version = (await api.list("Secret"))["metadata"]["resourceVersion"]
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "one"}, "stringData": {"key": "value"}}
    made = await api.create(secret)
    async with api.watch("Secret", version) as next_event:
        assert await next_event() == {"type": "ADDED", "object": made}
        await api.replace({**made, "data": {}})
        assert (await next_event())["type"] == "MODIFIED"
        await api.delete("Secret", "one")
        gone = await next_event()
        assert gone["type"] == "DELETED"
        assert int(gone["object"]["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


async def watch_follows_its_selector(api: Api) -> None:
    version = (await api.list("ConfigMap"))["metadata"]["resourceVersion"]
    async with api.watch("ConfigMap", version, labelSelector="app=x") as next_event:
        made = await api.create(_config())
        made["metadata"]["labels"] = {"app": "x"}
        made = await api.replace(made)
        assert (await next_event())["type"] == "ADDED"
        del made["metadata"]["labels"]
        await api.replace(made)
        event = await next_event()
        assert event["type"] == "DELETED"
        assert event["object"]["metadata"]["labels"] == {"app": "x"}


async def watch_from_too_old_a_version_is_expired(api: Api) -> None:
    async with api.watch("Deployment", "1") as next_event:
        event = await next_event()
    assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def watch_without_a_version_begins_with_what_is_there(api: Api) -> None:
    await api.create(_config(labels={"app": "x"}))
    async with api.watch("ConfigMap", "", labelSelector="app=x") as next_event:
        event = await next_event()
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")


# Custom resources


async def a_custom_resource_is_pruned_and_defaulted(api: Api) -> None:
    made = await api.create(_embedding_service(unknown=1))
    assert made["spec"] == {
        "model": {"storageUri": "hf://owner/name", "tokenSecretRef": {"name": "missing", "key": "HF_TOKEN"}},
        "args": ["--task=nothing"],
        **({"replicas": made["spec"]["replicas"]} if "replicas" in made["spec"] else {}),
    }


async def a_custom_resource_is_validated(api: Api) -> None:
    wrong = _embedding_service(backend="none", args="--task=embed", replicas=-1)
    words = ('spec.backend: Unsupported value: "none"', "spec.args in body must be of type array", "spec.replicas")
    await _refused(api.create(wrong), 422, "Invalid", 'EmbeddingService.serving.embeddings.dev "model"', *words)
    missing = _embedding_service()
    del missing["spec"]["model"]["storageUri"]
    await _refused(api.create(missing), 422, "Invalid", "spec.model.storageUri: Required value")


async def the_generation_counts_changes_of_the_spec(api: Api) -> None:
    made = await api.create(_embedding_service())
    assert made["metadata"]["generation"] == 1
    changed = await _retried(api, lambda obj: {**obj, "spec": {**obj["spec"], "args": ["--task=other"]}})
    assert changed["metadata"]["generation"] == 2
    labelled = await _retried(api, lambda obj: {**obj, "metadata": {**obj["metadata"], "labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 2


async def status_is_written_apart(api: Api) -> None:
    made = await api.create({**_embedding_service(), "status": _status("Created")})
    assert _reason(made) != "Created"

    def change(obj: Json) -> Json:
        meta = {**obj["metadata"], "labels": {"a": "b"}}
        return {**obj, "metadata": meta, "spec": {**obj["spec"], "args": []}, "status": _status("Written")}

    written = await _retried(api, change, "status")
    assert _reason(written) == "Written"
    assert written["spec"] == made["spec"]
    assert "labels" not in written["metadata"]
    assert written["metadata"]["generation"] == 1
    whole = await _retried(api, lambda obj: {**obj, "status": _status("Smuggled")})
    assert _reason(whole) != "Smuggled"


async def apply_refuses_an_unknown_field_of_a_custom_resource(api: Api) -> None:
    await _refused(api.apply(_embedding_service(unknown=1)), 500, "", ".spec.unknown: field not declared in schema")


# Built-in kinds


async def a_deployment_gets_its_defaults(api: Api) -> None:
    probe = {"httpGet": {"port": 80}}
    made = await api.create(
        _deployment(
            _container(ports=[{"containerPort": 80}], readinessProbe=probe), selector={"matchLabels": {"app": "web"}}
        )
    )
    spec = made["spec"]
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}}
    assert (spec["replicas"], spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (0, 10, 600)
    assert spec["template"]["metadata"] == {"labels": {"app": "web"}}
    assert spec["template"]["spec"] == {
        "containers": [
            {
                "name": "main",
                "image": "registry.example/web:1",
                "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "readinessProbe": {
                    "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }
        ],
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
        "schedulerName": "default-scheduler",
        "securityContext": {},
        "terminationGracePeriodSeconds": 30,
    }


async def a_deployment_loses_what_is_empty_and_its_quantities_are_canonical(api: Api) -> None:
    limits = {"cpu": "1000m", "memory": "1024Mi", "example.com/a": "1000"}
    variables = [
        {"name": "A", "value": ""},
        {"name": "B", "valueFrom": {"resourceFieldRef": {"containerName": "main", "resource": "limits.cpu"}}},
    ]
    container = _container(
        args=[], env=variables, resources={"limits": limits, "requests": {"cpu": "0.5"}},
        volumeMounts=[{"name": "tmp", "mountPath": "/tmp", "readOnly": False}],
    )  # fmt: skip
    config = _deployment(container)
    volumes = [{"name": "tmp", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "keys"}}]
    config["spec"]["template"]["spec"] |= {"volumes": volumes, "nodeSelector": {}, "hostNetwork": False}
    spec = (await api.create(config))["spec"]["template"]["spec"]
    made = spec["containers"][0]
    assert made["resources"] == {
        "limits": {"cpu": "1", "memory": "1Gi", "example.com/a": "1k"},
        "requests": {"cpu": "500m"},
    }
    assert made["env"] == [
        {"name": "A"},
        {
            "name": "B",
            "valueFrom": {"resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "0"}},
        },
    ]
    assert made["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]
    assert "args" not in made
    assert spec["volumes"][1] == {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 420}}
    assert not {"nodeSelector", "hostNetwork"} & spec.keys()


async def a_deployments_selector_is_immutable(api: Api) -> None:
    made = await api.create(_deployment())
    del made["metadata"]["resourceVersion"]
    labels = {"app": "other"}
    made["spec"]["selector"] = {"matchLabels": labels}
    made["spec"]["template"]["metadata"]["labels"] = labels
    await _refused(api.replace(made), 422, "Invalid", "spec.selector: Invalid value", "field is immutable")


async def a_deployments_selector_matches_its_template(api: Api) -> None:
    wrong = _deployment(selector={"matchLabels": {"app": "other"}})
    await _refused(api.create(wrong), 422, "Invalid", "`selector` does not match template `labels`")


async def a_service_gets_its_defaults(api: Api) -> None:
    made = await api.create(_service())
    spec = made["spec"]
    address = spec["clusterIP"]
    assert spec == {
        "clusterIP": address,
        "clusterIPs": [address],
        "internalTrafficPolicy": "Cluster",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 80}],
        "selector": {"app": "web"},
        "sessionAffinity": "None",
        "type": "ClusterIP",
    }
    assert "generation" not in made["metadata"]
    kept = await api.replace({**_service(), "metadata": {"name": "web", "labels": {"a": "b"}}})
    assert kept["spec"]["clusterIP"] == address


async def a_service_has_no_two_ports_of_one_name(api: Api) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "http", "port": 81}]
    words = 'spec.ports[1].name: Duplicate value: "http"'
    await _refused(api.create(_service(ports=ports)), 422, "Invalid", words)


# Server-side apply


async def apply_creates(api: Api) -> None:
    made = await api.apply(_config())
    assert _managers(made) == {"applier": {"f:data": {"f:key": {}}}}


async def apply_without_a_change_keeps_the_version(api: Api) -> None:
    made = await api.apply(_deployment())
    again = await api.apply(_deployment())
    assert again["metadata"]["generation"] == made["metadata"]["generation"]
    assert _managers(again)["applier"] == _managers(made)["applier"]


async def apply_conflicts_with_who_owns_a_field_otherwise(api: Api) -> None:
    await api.apply(_config(), "first")
    other = {**_config(), "data": {"key": "other"}}
    words = 'Apply failed with 1 conflict: conflict with "first": .data.key'
    await _refused(api.apply(other, "second"), 409, "Conflict", words)


async def apply_by_force_takes_fields_over(api: Api) -> None:
    await api.apply({**_config(), "data": {"key": "value", "kept": "yes"}}, "first")
    taken = await api.apply({**_config(), "data": {"key": "other"}}, "second", force=True)
    assert taken["data"] == {"key": "other", "kept": "yes"}
    assert _managers(taken) == {"first": {"f:data": {"f:kept": {}}}, "second": {"f:data": {"f:key": {}}}}


async def apply_of_the_same_value_shares_the_field(api: Api) -> None:
    await api.apply(_config(), "first")
    shared = await api.apply(_config(), "second")
    assert _managers(shared) == {"first": {"f:data": {"f:key": {}}}, "second": {"f:data": {"f:key": {}}}}
    left = await api.apply({**_config(), "data": {}}, "first")
    assert left["data"] == {"key": "value"}


async def apply_removes_what_it_no_longer_names(api: Api) -> None:
    probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 5}
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    await api.apply(_deployment(_container(env=env, readinessProbe=probe, command=["a"]), _container("side")))
    left = await api.apply(_deployment(_container(env=env[:1])))
    [container] = left["spec"]["template"]["spec"]["containers"]
    assert container["env"] == env[:1]
    assert not {"readinessProbe", "command"} & container.keys()


async def apply_keeps_what_others_added(api: Api) -> None:
    made = await api.apply(_deployment(_container(env=[{"name": "A", "value": "1"}])))
    del made["metadata"]["resourceVersion"]
    spec = made["spec"]["template"]["spec"]
    spec["containers"][0]["env"].append({"name": "INJECTED", "value": "yes"})
    spec["containers"].append(_container("sidecar"))
    made["metadata"]["annotations"] = {"by": "hand"}
    await api.replace(made)
    kept = await api.apply(_deployment(_container(env=[{"name": "A", "value": "2"}])))
    first, second = kept["spec"]["template"]["spec"]["containers"]
    assert first["env"] == [{"name": "A", "value": "2"}, {"name": "INJECTED", "value": "yes"}]
    assert second["name"] == "sidecar"
    assert kept["metadata"]["annotations"]["by"] == "hand"


async def apply_leaves_defaults_without_an_owner(api: Api) -> None:
    made = await api.apply(_deployment(_container(ports=[{"containerPort": 80}])))
    container = _managers(made)["applier"]["f:spec"]["f:template"]["f:spec"]["f:containers"]['k:{"name":"main"}']
    port: Json = {".": {}, "f:containerPort": {}}
    assert container == {
        ".": {},
        "f:image": {},
        "f:name": {},
        "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': port},
    }
    assert _managers(made)["applier"]["f:spec"]["f:selector"] == {}


async def apply_replaces_an_atomic_map_as_a_whole(api: Api) -> None:
    await api.apply(_service(), "first")
    other = _service(selector={"tier": "1"})
    await _refused(api.apply(other, "second"), 409, "Conflict", ".spec.selector")
    taken = await api.apply(other, "second", force=True)
    assert taken["spec"]["selector"] == {"tier": "1"}
    assert "f:selector" not in _managers(taken).get("first", {}).get("f:spec", {})


async def apply_replaces_an_atomic_list_as_a_whole(api: Api) -> None:
    await api.apply(_deployment(_container(args=["a", "b"])))
    changed = await api.apply(_deployment(_container(args=["c"])))
    assert changed["spec"]["template"]["spec"]["containers"][0]["args"] == ["c"]


async def apply_changes_ports_by_number_and_protocol(api: Api) -> None:
    await api.apply(_service())
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}, {"name": "metrics", "port": 81}]
    changed = await api.apply(_service(ports=ports))
    assert changed["spec"]["ports"] == [ports[0], {"name": "metrics", "port": 81, "protocol": "TCP", "targetPort": 81}]
    moved = await api.apply(_service(ports=ports[1:]))
    assert [port["port"] for port in moved["spec"]["ports"]] == [81]


async def apply_puts_a_change_by_hand_right(api: Api) -> None:
    made = await api.apply(_service())
    made["spec"]["ports"][0]["targetPort"] = "elsewhere"
    changed = await api.replace(made)
    assert changed["spec"]["ports"][0]["targetPort"] == "elsewhere"
    config = _service(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    right = await api.apply(config, force=True)
    assert right["spec"]["ports"][0]["targetPort"] == "web"


async def replace_takes_fields_from_an_applier(api: Api) -> None:
    made = await api.apply({**_config(), "data": {"key": "value", "kept": "yes"}})
    changed = await api.replace({**made, "data": {"key": "other", "kept": "yes"}})
    assert _managers(changed) == {"applier": {"f:data": {"f:kept": {}}}, "scenario": {"f:data": {"f:key": {}}}}


async def apply_of_the_uid_of_what_is_gone_conflicts(api: Api) -> None:
    made = await api.apply(_config())
    gone = _config(uid=made["metadata"]["uid"])
    await api.delete("ConfigMap", "one")
    await api.is_gone("ConfigMap", "one")
    await _refused(api.apply(gone), 409, "Conflict", "uid mismatch")


async def apply_of_another_uid_is_invalid(api: Api) -> None:
    await api.apply(_config())
    other = _config(uid="11111111-1111-1111-1111-111111111111")
    await _refused(api.apply(other), 422, "Invalid", "metadata.uid: Invalid value", "field is immutable")
    custom = await api.apply(_embedding_service())
    custom = {**_embedding_service(), "metadata": {"name": "model", "uid": other["metadata"]["uid"]}}
    await _refused(api.apply(custom, force=True), 422, "Invalid", "metadata.uid: Invalid value", "field is immutable")


async def apply_names_every_conflict(api: Api) -> None:
    await api.create({**_config(), "data": {"a": "1"}})
    await api.apply({**_config(), "data": {"b": "1", "c": "1"}}, "first")
    other = {**_config(), "data": {"a": "2", "b": "2", "c": "2"}}
    refused = await _refused(api.apply(other, "second"), 409, "Conflict", "Apply failed with 3 conflicts: ")
    assert 'conflicts with "first":\n- .data.b\n- .data.c' in refused.message
    assert 'conflicts with "scenario" using v1:\n- .data.a' in refused.message


async def apply_puts_list_items_in_its_order(api: Api) -> None:
    def names(obj: Json) -> list[str]:
        return [each["name"] for each in obj["spec"]["template"]["spec"]["containers"]]

    made = await api.apply(_deployment(_container("a"), _container("b")))
    made["spec"]["template"]["spec"]["containers"].insert(1, _container("sidecar"))
    del made["metadata"]["resourceVersion"]
    await api.replace(made)
    assert names(await api.apply(_deployment(_container("b"), _container("a")))) == ["sidecar", "b", "a"]
    assert names(await api.apply(_deployment(_container("b"), _container("c"), _container("a")))) == [
        "sidecar", "b", "c", "a",
    ]  # fmt: skip


async def apply_leaves_a_struct_in_which_others_own_a_field(api: Api) -> None:
    made = await api.apply(_deployment(_container(securityContext={"runAsNonRoot": True}), _container("side")))
    del made["metadata"]["resourceVersion"]
    made["spec"]["template"]["spec"]["containers"][0]["securityContext"]["runAsUser"] = 1000
    made["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = "Never"
    await api.replace(made)
    left = await api.apply(_deployment())
    main = left["spec"]["template"]["spec"]["containers"][0]
    assert main["securityContext"] == {"runAsUser": 1000}


async def a_probe_has_a_handler(api: Api) -> None:
    wrong = _deployment(_container(readinessProbe={"periodSeconds": 5}))
    words = "spec.template.spec.containers[0].readinessProbe: Required value: must specify a handler type"
    await _refused(api.create(wrong), 422, "Invalid", words)


async def apply_of_status_owns_status_alone(api: Api) -> None:
    made = await api.apply({**_deployment(), "status": {"replicas": 7}})
    assert "f:status" not in _managers(made)["applier"]
    assert made.get("status", {}).get("replicas") != 7


async def apply_that_names_nothing_gives_all_up(api: Api) -> None:
    await api.apply({**_config(labels={"a": "b"}), "data": {"key": "value"}})
    nothing = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}}
    left = await api.apply(nothing)
    assert "data" not in left
    assert "labels" not in left["metadata"]
    assert _managers(left) == {}


async def apply_refuses_managed_fields(api: Api) -> None:
    made = await api.apply(_config())
    await _refused(api.apply(made), 400, "BadRequest", "metadata.managedFields must be nil")


async def an_object_whose_managers_were_reset_has_none_until_somebody_applies(api: Api) -> None:
    made = await api.create(_config())
    reset = await api.replace(_with_managers(made, {}))
    assert _managers(reset) == {}
    changed = await api.replace({**reset, "data": {"key": "other"}})
    assert _managers(changed) == {}
    assert set(_managers(await api.apply(_config(), force=True))) >= {"applier"}


async def an_update_may_replace_the_managers_and_is_tracked_with_those_it_names(api: Api) -> None:
    made = await api.apply(_config(annotations={"mine": "value"}), "somebody")
    mine: Json = {"f:metadata": {"f:annotations": {"f:mine": {}}}}
    entry = {"manager": "mine", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": mine}
    replaced = await api.replace({**_with_managers(made, entry), "data": {"key": "other"}})
    assert _managers(replaced).keys() == {"mine", "scenario"}
    assert _managers(replaced)["scenario"]["f:data"] == {"f:key": {}}


async def apply_refuses_a_duplicate_key(api: Api) -> None:
    twice = _deployment(_container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]))
    await _refused(api.apply(twice), 500, "", "duplicate entries for key")


async def an_annotation_moves_the_generation_of_a_deployment(api: Api) -> None:
    made = await api.apply(_deployment())
    config = _deployment()
    config["metadata"]["annotations"] = {"a": "b"}
    assert (await api.apply(config))["metadata"]["generation"] == made["metadata"]["generation"] + 1
    config["metadata"]["labels"] = {"a": "b"}
    assert (await api.apply(config))["metadata"]["generation"] == made["metadata"]["generation"] + 1


async def a_null_becomes_the_default(api: Api) -> None:
    config = _embedding_service(backend=None)
    config["spec"]["model"]["tokenSecretRef"]["key"] = None
    made = await api.create(config)
    assert made["spec"]["model"]["tokenSecretRef"]["key"] == "HF_TOKEN"
    assert "backend" not in made["spec"]


async def a_disruption_budget_is_stored_as_given(api: Api) -> None:
    budget = _budget()
    made = await api.apply(budget)
    assert made["spec"] == budget["spec"]
    assert made["metadata"]["generation"] == 1
    changed = await api.apply({**budget, "spec": {**budget["spec"], "maxUnavailable": 2}})
    assert changed["metadata"]["generation"] == 2


async def a_lease_is_replaced_at_its_version_only(api: Api) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "one"}}
    spec = {"holderIdentity": "a", "leaseDurationSeconds": 15, "renewTime": "2026-01-01T00:00:00.000000Z"}
    made = await api.create({**lease, "spec": spec})
    assert made["spec"] == spec
    words = "metadata.resourceVersion: Invalid value"
    await _refused(api.replace({**lease, "spec": {**spec, "holderIdentity": "b"}}), 422, "Invalid", words)
    taken = await api.replace({**made, "spec": {**spec, "holderIdentity": "b"}})
    await _refused(api.replace(made), 409, "Conflict", "the object has been modified")
    assert taken["spec"]["holderIdentity"] == "b"


async def deletion_can_leave_the_owned_as_orphans(api: Api) -> None:
    owner = (await api.create(_config("owner")))["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"]}
    await api.create(_config("owned", ownerReferences=[reference]))
    await api.delete("ConfigMap", "owner", policy="Orphan")
    await api.is_gone("ConfigMap", "owner")
    assert "ownerReferences" not in (await api.get("ConfigMap", "owned"))["metadata"]


async def what_is_owned_by_what_never_was_goes(api: Api) -> None:
    uid = "11111111-1111-1111-1111-111111111111"
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
    await api.create(_config("owned", ownerReferences=[reference]))
    await api.is_gone("ConfigMap", "owned")


async def a_merge_patch_changes_what_it_names(api: Api) -> None:
    await api.create({**_config(), "data": {"a": "1", "b": "2"}})
    patched = await api.merge("ConfigMap", "one", {"data": {"a": None, "c": "3"}})
    assert patched["data"] == {"b": "2", "c": "3"}


async def apply_of_an_old_version_conflicts(api: Api) -> None:
    made = await api.apply(_config())
    await api.apply({**_config(), "data": {"key": "new"}})
    old = _config(resourceVersion=made["metadata"]["resourceVersion"])
    await _refused(api.apply(old), 409, "Conflict", "the object has been modified")


async def apply_merges_owners_by_uid(api: Api) -> None:
    owner = (await api.create(_config("owner")))["metadata"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["uid"], "controller": True}
    made = await api.apply(_config("owned", ownerReferences=[reference]))
    fields = _managers(made)["applier"]["f:metadata"]["f:ownerReferences"]
    assert fields == {f'k:{{"uid":"{owner["uid"]}"}}': {}}


def _status(reason: str) -> Json:
    condition = {
        "type": "Ready",
        "status": "Unknown",
        "reason": reason,
        "message": "written by a scenario",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return {"replicas": 0, "readyReplicas": 0, "conditions": [condition]}


def _reason(obj: Json) -> str | None:
    conditions = obj.get("status", {}).get("conditions", [])
    return next((str(each["reason"]) for each in conditions if each["type"] == "Ready"), None)


async def _retried(api: Api, change: Callable[[Json], Json], subresource: str = "") -> Json:
    """An operator may write the status in between."""
    while True:
        try:
            return await api.replace(change(await api.get("EmbeddingService", "model")), subresource)
        except Refused as refused:
            if refused.code != 409:
                raise


SCENARIOS: Mapping[str, Scenario] = {
    name: function
    for name, function in list(globals().items())
    if asyncio.iscoroutinefunction(function) and not name.startswith("_")
}
