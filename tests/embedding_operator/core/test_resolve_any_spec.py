"""Whatever passes the CRD, and much that does not, is resolved or refused in words: nothing else is ever raised."""

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embedding_operator.core import storage
from embedding_operator.core.resolve import resolve_service, secrets_needed
from embedding_operator.errors import Refused
from embedding_operator.resources.crd import structural
from embedding_operator.resources.storage_container import StorageContainerSpec
from embedding_operator.resources.v1alpha1 import EmbeddingServiceSpec
from support.builders import SETTINGS, Raw, a_service, a_snapshot, a_storage_container

QUANTITIES = st.sampled_from(
    ["1", "500m", "2Gi", "1e99", "1e-99", "9" * 70, "9" * 5000, "1E5", "0", "0.1n", "1e" + "9" * 40, "0.5", "1Ei"]
)
RESOURCES = st.sampled_from(
    ["cpu", "memory", "nvidia.com/gpu", "amd.com/gpu", "rdma/x", "hugepages-2Mi", "x", "../y", "/"]
)
FLAGS = st.sampled_from(
    ["task", "backend", "model_name", "grace_period", "http_port", "dtype", "max_length", "trust_remote_code", "x"]
)
VALUES = st.sampled_from(["", "embed", "fake", "vllm", "1e300", "-1", "nan", "9" * 5000, "true", "\x00", "=", "None"])
ARGUMENTS = st.builds("--{}={}".format, FLAGS, VALUES) | st.builds("--{}".format, FLAGS) | st.text(max_size=8)
URIS = st.sampled_from(
    ["hf://a/b", "hf://a/b:c", "hf://a", "pvc://c/p", "pvc://../x", "file:///x", "s3://b/m", "x", "hf://\x00/b", "://"]
)
TEXTS = st.text(max_size=12) | st.sampled_from(
    ["", "a", "../a", "x" * 5000, "\x00", "\ud800", "(", "a{1000}{1000}", "0"]
)


BY_NAME = {"storageUri": URIS, "args": st.lists(ARGUMENTS, max_size=3)}


def _values(schema: Raw, name: str = "") -> st.SearchStrategy[Any]:
    """Values that fit a schema, near enough: limits and patterns are often not kept."""
    if name in BY_NAME:
        return BY_NAME[name]
    if schema.get("x-kubernetes-int-or-string"):
        return QUANTITIES | st.integers(-1, 2**70) | TEXTS
    if "enum" in schema:
        return st.sampled_from(schema["enum"]) | TEXTS
    kind = schema.get("type")
    if kind == "array":
        return st.lists(_values(schema["items"]), max_size=3)
    if kind == "object":
        return _objects(schema)
    return {"integer": st.integers(-5, 2**40), "boolean": st.booleans()}.get(str(kind), TEXTS)


def _objects(schema: Raw) -> st.SearchStrategy[Any]:
    if "additionalProperties" in schema:
        return st.dictionaries(RESOURCES | TEXTS, _values(schema["additionalProperties"]), max_size=4)
    required = set(schema.get("required", ()))
    fields = {key: _values(each, key) for key, each in schema["properties"].items()}
    return st.fixed_dictionaries(
        {key: each for key, each in fields.items() if key in required},
        optional={key: each for key, each in fields.items() if key not in required},
    )


SPECS = _values(structural(EmbeddingServiceSpec))
NOISE = st.none() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2) | st.dictionaries(TEXTS, TEXTS, max_size=2)
STORAGE_SPECS = _values(structural(StorageContainerSpec)) | NOISE
NAMES = st.sampled_from(["embedding-model", "a", "hf-hub"])
MANY = settings(max_examples=2500, deadline=None, suppress_health_check=list(HealthCheck))


def _resolve(service: Raw, *storage_containers: Raw) -> None:
    snapshot = a_snapshot(service, *storage_containers, secrets={"a": frozenset({"HF_TOKEN"})})
    secrets_needed(service, snapshot.storage_containers)
    try:
        resolve_service(snapshot, SETTINGS)
    except Refused as refused:
        assert refused.problems  # noqa: PT017 with none there would be nothing to change
        assert all(len(problem.message) < 8000 for problem in refused.problems)  # noqa: PT017


@MANY
@given(SPECS, NAMES)
def test_any_spec_is_resolved_or_refused(spec: Raw, name: str) -> None:
    service = a_service(name=name)
    service["spec"] = spec
    _resolve(service)


@MANY
@given(SPECS, STORAGE_SPECS, st.sampled_from([None, "default"]), NOISE)
def test_any_spec_beside_any_storage_container_is_resolved_or_refused(
    spec: Raw, storage_spec: Any, namespace: str | None, noise: Any
) -> None:
    service = a_service(status={"storageContainer": {"kind": "ClusterStorageContainer", "name": "hf-hub"}})
    service["spec"] = spec
    storage_container = {**a_storage_container(namespace=namespace, disabled=noise), "spec": storage_spec}
    storage.read(storage_container)
    _resolve(service, storage_container)


@settings(max_examples=300, deadline=None)
@given(NOISE)
def test_a_spec_of_any_shape_is_refused(spec: Any) -> None:
    service = a_service()
    service["spec"] = spec
    _resolve(service)
