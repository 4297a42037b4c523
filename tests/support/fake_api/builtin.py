"""What the API server makes of built-in objects before it stores them: defaults, canonical forms, dropped empties.

Of the kinds and fields that the operator meets; unknown fields pass.
"""

import base64
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

__all__ = ["built_in_problems", "canonical_quantity", "complete"]

Json = dict[str, Any]

# Go's omitempty: structs behind pointers stay when they are empty, zeros of plain numbers and booleans go.
_KEPT_EMPTY = {"emptyDir", "resources", "securityContext", "strategy", "loadBalancer", "status", "spec", "selector"}
_DROPPED_ZERO = {
    "hostIPC", "hostNetwork", "hostPID", "hostPort", "initialDelaySeconds", "minReadySeconds", "nodePort", "paused",
    "publishNotReadyAddresses", "readOnly", "stdin", "stdinOnce", "tty",
}  # fmt: skip
_PROBES = {"startupProbe", "readinessProbe", "livenessProbe"}
_QUANTITIES = {"limits", "requests"}
_BINARY = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
_DECIMAL = {18: "E", 15: "P", 12: "T", 9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "u", -9: "n"}
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SERVICE_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def complete(obj: Json, present: Json | None) -> Json:
    """The object as it is stored; `present` is what is stored now, for values that the server allots once."""
    meta = obj["metadata"]
    obj = {**_tidy({**obj, "metadata": None}), "metadata": meta}
    spec = obj.get("spec", {})
    match obj["kind"]:
        case "Deployment":
            _deployment(obj.setdefault("spec", {}))
        case "Job" | "PersistentVolumeClaim":
            _job_or_claim(obj, spec, meta)
        case "Service":
            _service(obj.setdefault("spec", {}), present)
            obj.setdefault("status", {"loadBalancer": {}})
        case "Pod":
            _pod(spec)
            for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
                if limits := container["resources"].get("limits"):
                    container["resources"]["requests"] = {**limits, **container["resources"].get("requests", {})}
            spec.setdefault("enableServiceLinks", True)
            obj.setdefault("status", {"phase": "Pending"})
        case "Secret":
            for key, value in obj.pop("stringData", {}).items():
                obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
            obj.setdefault("type", "Opaque")
        case "Namespace":
            meta.setdefault("labels", {})["kubernetes.io/metadata.name"] = meta["name"]
            obj.setdefault("spec", {"finalizers": ["kubernetes"]})
            obj.setdefault("status", {"phase": "Active"})
    return obj


def built_in_problems(obj: Json, present: Json | None) -> Iterator[str]:
    """`field: what is wrong`."""
    meta, spec = obj["metadata"], obj.get("spec", {})
    if not (_SERVICE_NAME if obj["kind"] == "Service" else _NAME).fullmatch(meta["name"]) or len(meta["name"]) > 253:
        rule = "a DNS-1035 label" if obj["kind"] == "Service" else "a lowercase RFC 1123 subdomain"
        words = f"{rule} must consist of lower case alphanumeric characters"
        yield f'metadata.name: Invalid value: "{meta["name"]}": {words}'
    if obj["kind"] == "Service":
        yield from _problems_of_ports(spec.get("ports", []))
        if present and spec.get("clusterIP") != present["spec"].get("clusterIP"):
            yield f'spec.clusterIPs[0]: Invalid value: ["{spec.get("clusterIP")}"]: may not change once set'
    if obj["kind"] == "Deployment":
        labels = spec.get("template", {}).get("metadata", {}).get("labels", {})
        wanted = spec.get("selector", {}).get("matchLabels", {})
        if not wanted:
            yield "spec.selector: Required value"
        elif not wanted.items() <= labels.items():
            yield "spec.template.metadata.labels: Invalid value: `selector` does not match template `labels`"
        if present and spec.get("selector") != present["spec"]["selector"]:
            yield "spec.selector: Invalid value: field is immutable"
        yield from _problems_of_pod(spec.get("template", {}).get("spec", {}), "spec.template.spec")
    if obj["kind"] in {"Job", "PersistentVolumeClaim"} and present:
        yield from _problems_of_change(obj, present)


def _problems_of_change(obj: Json, present: Json) -> Iterator[str]:
    """Of a Job or a claim, which can hardly be changed."""
    if obj["kind"] == "Job" and obj["spec"].get("template") != present["spec"]["template"]:
        yield "spec.template: Invalid value: field is immutable"
    one, other = ({**each["spec"], "resources": None} for each in (obj, present))
    if obj["kind"] == "PersistentVolumeClaim" and one != other:
        yield "spec: Forbidden: spec is immutable after creation except resources.requests"


def problems_of_metadata(meta: Json) -> Iterator[str]:
    """Of any kind of object."""
    for name, value in meta.get("labels", {}).items():
        if not _LABEL.fullmatch(value):
            words = f"a valid label value of {name} must be 63 characters or less"
            yield f'metadata.labels: Invalid value: "{value}": {words}'
    if sum(1 for each in meta.get("ownerReferences", ()) if each.get("controller")) > 1:
        yield "metadata.ownerReferences: Invalid value: Only one reference can have Controller set to true"


def canonical_quantity(quantity: str | float) -> str:
    """`1000m` is `1`, `1024Mi` is `1Gi`."""
    match = re.fullmatch(r"([+-]?[0-9.]+)([numkMGTPE]|[KMGTPE]i)?", str(quantity))
    if not match:
        return str(quantity)  # with an exponent: kept so
    number, suffix = Fraction(match[1]), match[2] or ""
    if suffix.endswith("i"):
        value = number * 1024 ** _BINARY.index(suffix)
        for power in range(6, 0, -1):
            if value and value % 1024**power == 0:
                return f"{value // 1024**power}{_BINARY[power]}"
    else:
        value = number * Fraction(10) ** next(power for power, each in _DECIMAL.items() if each == suffix)
    if value == 0:
        return "0"
    return next(
        f"{value / Fraction(10) ** power}{suffix}"
        for power, suffix in _DECIMAL.items()
        if (value / Fraction(10) ** power).denominator == 1
    )


def _tidy(value: Any, name: str = "") -> Any:
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    if name in _QUANTITIES:
        return {key: canonical_quantity(each) for key, each in value.items()}
    tidied = {key: _tidy(item, key) for key, item in value.items()}
    if name in {"data", "labels", "annotations", "matchLabels", "nodeSelector"}:
        return tidied  # of strings, and an empty one is one
    return {key: item for key, item in tidied.items() if not _is_dropped(key, item)}


def _is_dropped(name: str, value: Any) -> bool:
    if value in ({}, 0) and not isinstance(value, float):
        return (name in _DROPPED_ZERO) if not isinstance(value, dict) else (name not in _KEPT_EMPTY)
    return value is None or value in ("", [])


def _deployment(spec: Json) -> None:
    spec.setdefault("replicas", 1)
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    strategy = spec.setdefault("strategy", {})
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    _pod(spec.setdefault("template", {}).setdefault("spec", {}))


def _job_or_claim(obj: Json, spec: Json, meta: Json) -> None:
    """The labels of a Job's pods, and its selector, are its own: its UID is in them."""
    if obj["kind"] == "PersistentVolumeClaim":
        spec.setdefault("volumeMode", "Filesystem")
        obj.setdefault("status", {"phase": "Pending"})
        return
    for name, value in {"backoffLimit": 6, "completions": 1, "parallelism": 1, "suspend": False}.items():
        spec.setdefault(name, value)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("podReplacementPolicy", "Failed" if "podFailurePolicy" in spec else "TerminatingOrFailed")
    of_pods = spec.setdefault("template", {}).setdefault("metadata", {}).setdefault("labels", {})
    own = {"batch.kubernetes.io/controller-uid": meta.get("uid", ""), "batch.kubernetes.io/job-name": meta["name"]}
    of_pods.update({**own, "controller-uid": meta.get("uid", ""), "job-name": meta["name"]})
    spec.setdefault("selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": meta.get("uid", "")}})
    _pod(spec["template"].setdefault("spec", {}))


def _pod(spec: Json) -> None:
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if account := spec.get("serviceAccountName"):
        spec["serviceAccount"] = account
    for container in (*spec.get("initContainers", ()), *spec.get("containers", ())):
        _container(container)
    for volume in spec.get("volumes", ()):
        if set(volume) == {"name"}:
            volume["emptyDir"] = {}
        for source in ("secret", "configMap", "projected"):
            if source in volume:
                volume[source].setdefault("defaultMode", 0o644)


def _container(container: Json) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("resources", {})
    image = container.get("image", "")
    newest = "@" not in image and image.rpartition("/")[2].partition(":")[2] in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if newest else "IfNotPresent")
    for port in container.get("ports", ()):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        if "fieldRef" in source:
            source["fieldRef"].setdefault("apiVersion", "v1")
        if "resourceFieldRef" in source:
            source["resourceFieldRef"].setdefault("divisor", "0")
    for probe in (container[each] for each in _PROBES & container.keys()):
        for name, value in {
            "timeoutSeconds": 1,
            "periodSeconds": 10,
            "successThreshold": 1,
            "failureThreshold": 3,
        }.items():
            probe.setdefault(name, value)
        if "httpGet" in probe:
            probe["httpGet"].setdefault("scheme", "HTTP")
            probe["httpGet"].setdefault("path", "/")


def _service(spec: Json, present: Json | None) -> None:
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports", ()):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port["port"])
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if present:
        spec.setdefault("clusterIP", present["spec"].get("clusterIP"))
    spec.setdefault("clusterIP", f"10.96.{hash_of(spec) % 250}.{hash_of(spec) // 250 % 250 + 1}")
    spec["clusterIPs"] = [spec["clusterIP"]]
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")


def hash_of(spec: Json) -> int:
    """An address of its own for each Service is nothing that tests look at; a valid one is."""
    return sum(str(spec).encode())


def _problems_of_ports(ports: list[Json]) -> Iterator[str]:
    if not ports:
        yield "spec.ports: Required value"
    names: list[str] = []
    for index, port in enumerate(ports):
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield f"spec.ports[{index}].name: Required value"
        elif name in names:
            yield f'spec.ports[{index}].name: Duplicate value: "{name}"'
        names.append(name)


def _problems_of_pod(spec: Json, path: str) -> Iterator[str]:
    if not spec.get("containers"):
        yield f"{path}.containers: Required value"
    volumes = {volume["name"] for volume in spec.get("volumes", ())}
    for index, container in enumerate(spec.get("containers", ())):
        for probe in _PROBES & container.keys():
            if not {"exec", "grpc", "httpGet", "tcpSocket"} & container[probe].keys():
                yield f"{path}.containers[{index}].{probe}: Required value: must specify a handler type"
        for number, mount in enumerate(container.get("volumeMounts", ())):
            if mount["name"] not in volumes:
                yield f'{path}.containers[{index}].volumeMounts[{number}].name: Not found: "{mount["name"]}"'
