"""What kube-apiserver asks of a structural schema (KEP 1693, apiextensions' validation), checked without one."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from embedding_operator.resources.crd import RESOURCES, Resource, columns, definition
from support.builders import Raw

KEYWORDS = {
    "additionalProperties",
    "anyOf",
    "default",
    "description",
    "enum",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minLength",
    "minimum",
    "pattern",
    "properties",
    "required",
    "type",
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-list-type",
    "x-kubernetes-validations",
}

every_resource = pytest.mark.parametrize("resource", RESOURCES, ids=lambda each: each.kind)


def _schema(resource: Resource) -> Raw:
    schema: Raw = definition(resource)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def _nodes(schema: Raw, path: str = "") -> Iterator[tuple[str, Raw]]:
    yield path, schema
    for name, each in schema.get("properties", {}).items():
        yield from _nodes(each, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _nodes(schema[key], f"{path}[]")


def _within_spec(resource: Resource) -> list[tuple[str, Raw]]:
    return list(_nodes(_schema(resource)["properties"]["spec"], "spec"))


@every_resource
def test_only_keywords_that_structural_schemas_have_are_used(resource: Resource) -> None:
    for path, node in _nodes(_schema(resource)):
        assert not node.keys() - KEYWORDS, path


@every_resource
def test_every_node_has_one_type_or_is_int_or_string(resource: Resource) -> None:
    for path, node in _nodes(_schema(resource)):
        if node.get("x-kubernetes-int-or-string"):
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
            assert "type" not in node, path
        else:
            assert isinstance(node.get("type"), str), path
            assert "anyOf" not in node, path


@every_resource
def test_properties_and_additional_properties_never_stand_together(resource: Resource) -> None:
    for path, node in _nodes(_schema(resource)):
        assert not {"properties", "additionalProperties"} <= node.keys(), path
        assert not isinstance(node.get("additionalProperties"), bool), path


@every_resource
def test_of_metadata_only_the_name_is_limited(resource: Resource) -> None:
    metadata = _schema(resource)["properties"]["metadata"]
    assert metadata["type"] == "object"
    assert metadata.get("properties", {}).keys() <= {"name"}


@every_resource
def test_required_fields_are_fields(resource: Resource) -> None:
    for path, node in _nodes(_schema(resource)):
        assert set(node.get("required", ())) <= node.get("properties", {}).keys(), path


@every_resource
def test_every_field_of_the_spec_is_described(resource: Resource) -> None:
    for path, node in _within_spec(resource):
        assert node.get("description") or path.endswith("[]"), path


@every_resource
def test_lists_and_texts_are_bounded_wherever_a_rule_looks(resource: Resource) -> None:
    """The cost of a rule is reckoned from the longest value there can be."""
    for path, node in _within_spec(resource):
        if node.get("type") == "array":
            assert "maxItems" in node, path
        if node.get("type") == "string" and "x-kubernetes-validations" in node:
            assert "maxLength" in node, path


@every_resource
def test_a_list_that_is_a_map_has_required_scalar_keys(resource: Resource) -> None:
    for path, node in _nodes(_schema(resource)):
        for key in node.get("x-kubernetes-list-map-keys", ()):
            assert node["x-kubernetes-list-type"] == "map", path
            assert key in node["items"]["required"], path
            assert node["items"]["properties"][key]["type"] == "string", path


@every_resource
def test_defaults_fit_their_schema(resource: Resource) -> None:
    kinds: Mapping[str, type] = {"string": str, "integer": int, "boolean": bool}
    for path, node in _nodes(_schema(resource)):
        if "default" in node:
            assert isinstance(node["default"], kinds[node["type"]]), path
            assert node["default"] in node.get("enum", [node["default"]]), path


@every_resource
def test_every_rule_has_a_message_and_names_fields_that_are_there(resource: Resource) -> None:
    for path, node in _nodes(_schema(resource)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert rule["message"], path
            named = set(re.findall(r"\bself\.(\w+)\b(?!\()", rule["rule"]))
            assert named <= node.get("properties", {}).keys(), path


@every_resource
def test_names_are_as_kubernetes_wants_them(resource: Resource) -> None:
    spec = definition(resource)["spec"]
    names = spec["names"]
    assert definition(resource)["metadata"]["name"] == f"{names['plural']}.{spec['group']}"
    assert names["categories"] == ["embeddings"]


@every_resource
def test_columns_point_at_fields_that_are_there(resource: Resource) -> None:
    for column in columns(resource.kind):
        node: Any = _schema(resource)
        path = re.sub(r"\[\?[^\]]*\]", ".[]", column["jsonPath"]).lstrip(".")
        if path.startswith("metadata."):
            continue
        for step in path.split("."):
            node = node["items"] if step == "[]" else node["properties"][step]
        assert node["type"] == column["type"], column["name"]


def test_no_short_name_is_one_of_kubernetes() -> None:
    taken = {"sc", "svc", "po", "deploy", "cm", "pvc", "pv", "sa", "ev", "ep", "ns", "no", "rs", "sts", "ds"}
    assert not taken & {name for resource in RESOURCES for name in resource.short_names}


def test_a_service_is_scaled_by_its_replicas() -> None:
    service, *_ = RESOURCES
    version = definition(service)["spec"]["versions"][0]
    assert version["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }


def test_replicas_have_no_default_so_that_an_autoscaler_may_own_them() -> None:
    service, *_ = RESOURCES
    spec = definition(service)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert "default" not in spec["properties"]["replicas"]
    assert "replicas" not in spec.get("required", [])
    assert "replicas" not in spec.get("default", {})


def test_the_columns_of_a_service_are_those_that_people_look_for() -> None:
    shown = [column["name"] for column in columns("EmbeddingService") if not column.get("priority")]
    assert shown == ["URL", "Ready", "Reason", "Backend", "Model", "Age", "Download%"]
