"""Models -> CustomResourceDefinitions, with the structural schemas that an API server accepts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from embedding_operator.constants import GROUP, VERSION
from embedding_operator.resources import model_cache, service_status, storage_container, v1alpha1

__all__ = ["RESOURCES", "Column", "Resource", "columns", "definition", "structural"]

_DROPPED = {"title", "$defs", "additionalProperties"}  # the last: closed is what structural schemas are by themselves


@dataclass(frozen=True)
class Column:
    """A column of `kubectl get`. `wide` ones are shown with -o wide alone."""

    name: str
    path: str
    type: Literal["string", "integer", "boolean", "date"] = "string"
    wide: bool = False
    description: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As a CRD's additionalPrinterColumns has it."""
        return {
            "name": self.name,
            "type": self.type,
            "jsonPath": self.path,
            **({"description": self.description} if self.description else {}),
            **({"priority": 1} if self.wide else {}),
        }


_AGE = Column("Age", ".metadata.creationTimestamp", "date")


def _of_condition(name: str, condition: str, field: str, description: str) -> Column:
    return Column(name, f'.status.conditions[?(@.type=="{condition}")].{field}', description=description)


@dataclass(frozen=True)
class Resource:
    """What a CRD says beside its schema."""

    model: type[BaseModel]
    status: type[BaseModel]
    scope: Literal["Namespaced", "Cluster"]
    short_names: tuple[str, ...]
    columns: tuple[Column, ...]
    scalable: bool = False
    name_limit: int | None = None

    @property
    def kind(self) -> str:
        """Kinds are the models' names."""
        return self.model.__name__

    @property
    def plural(self) -> str:
        """As in the API's paths."""
        return f"{self.kind.lower()}s"


_STORAGE_COLUMNS = (
    _of_condition("Accepted", "Accepted", "status", "whether services can use it"),
    _of_condition("Message", "Accepted", "message", "for which URIs, or why not"),
    _AGE,
)

_CACHE_COLUMNS = (
    Column("Ready", ".status.ready", description="how many of the models are ready"),
    _of_condition("Reason", "Ready", "reason", "why; status.models has a message for each model"),
    Column("Size", ".status.capacity.used", description="what the models on the volume take"),
    Column("Free", ".status.capacity.free", description="what further models may take without an eviction"),
    _AGE,
    Column("Claim", ".status.claim", wide=True),
)

RESOURCES = (
    Resource(
        v1alpha1.EmbeddingService,
        service_status.EmbeddingServiceStatus,
        "Namespaced",
        ("emb", "embsvc"),
        (
            Column("URL", ".status.url"),
            _of_condition("Ready", "Ready", "status", "whether everything that the spec asks for is running"),
            _of_condition("Reason", "Ready", "reason", "why; status.conditions has the message"),
            Column("Backend", ".status.backend"),
            Column("Model", ".status.model.name", description="the name by which requests call the model"),
            _AGE,
            # The last one: where it is empty, the columns before it keep their places for scripts.
            Column(
                "Download%",
                ".status.model.download.percent",
                "integer",
                description="part of the model that is downloaded; empty when nothing is being downloaded",
            ),
            Column("Replicas", ".status.replicas", "integer", wide=True),
            Column(
                "Bytes/s",
                ".status.model.download.bytesPerSecond",
                "integer",
                wide=True,
                description="rate of the download",
            ),
            Column("Revision", ".status.revision.serving", wide=True, description="the revision that answers requests"),
        ),
        scalable=True,
        name_limit=63,  # it becomes a Service and a label's value
    ),
    Resource(
        storage_container.StorageContainer,
        storage_container.StorageContainerStatus,
        "Namespaced",
        ("stc",),  # sc is Kubernetes' own, for storage classes
        _STORAGE_COLUMNS,
    ),
    Resource(
        storage_container.ClusterStorageContainer,
        storage_container.StorageContainerStatus,
        "Cluster",
        ("csc",),
        _STORAGE_COLUMNS,
    ),
    Resource(
        model_cache.ModelCache,
        model_cache.ModelCacheStatus,
        "Namespaced",
        ("mc",),
        _CACHE_COLUMNS,
        name_limit=63,  # it becomes a label's value
    ),
    Resource(
        model_cache.ClusterModelCache,
        model_cache.ModelCacheStatus,
        "Cluster",
        ("cmc",),
        (
            *_CACHE_COLUMNS,
            Column("Namespace", ".spec.namespace", wide=True, description="where its Jobs run"),
        ),
        name_limit=63,
    ),
)


def columns(kind: str) -> list[dict[str, Any]]:
    """The additionalPrinterColumns of a kind."""
    (resource,) = (each for each in RESOURCES if each.kind == kind)
    return [column.to_dict() for column in resource.columns]


def definition(resource: Resource) -> dict[str, Any]:
    """The whole CustomResourceDefinition."""
    subresources: dict[str, Any] = {"status": {}}
    if resource.scalable:
        subresources["scale"] = {
            "specReplicasPath": ".spec.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": resource.scope,
            "names": {
                "kind": resource.kind,
                "listKind": f"{resource.kind}List",
                "plural": resource.plural,
                "singular": resource.kind.lower(),
                "shortNames": list(resource.short_names),
                "categories": ["embeddings"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": columns(resource.kind),
                    "schema": {"openAPIV3Schema": _root(resource)},
                    "subresources": subresources,
                }
            ],
        },
    }


def structural(model: type[BaseModel]) -> dict[str, Any]:
    """A model's schema with every reference inlined, and nothing that structural schemas forbid."""
    schema = model.model_json_schema(by_alias=True)
    return _inlined(schema, schema.get("$defs", {}))


def _root(resource: Resource) -> dict[str, Any]:
    """The API server says itself what apiVersion, kind and metadata are; of metadata only the name may be limited."""
    schema = structural(resource.model)
    metadata: dict[str, Any] = {"type": "object"}
    if resource.name_limit:
        metadata["properties"] = {"name": {"type": "string", "maxLength": resource.name_limit}}
    schema["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": metadata,
        "status": structural(resource.status),
    }
    schema["required"] = ["spec"]
    return schema


def _inlined(node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        target = defs[node["$ref"].rpartition("/")[2]]
        return _inlined({**target, **{key: value for key, value in node.items() if key != "$ref"}}, defs)
    choices: Sequence[Mapping[str, Any]] = node.get("anyOf", ())
    if {"type": "null"} in choices:  # an optional field: it is left out, null is no value of it
        (given,) = (choice for choice in choices if choice != {"type": "null"})
        kept = {key: value for key, value in node.items() if key != "anyOf" and (key, value) != ("default", None)}
        # a description beside the reference says more than that of the type
        return _inlined({**_inlined(given, defs), **kept}, {})
    result: dict[str, Any] = {}
    if "description" in node:
        result["description"] = " ".join(node["description"].split())
    result |= {key: value for key, value in node.items() if key not in {*result, *_DROPPED}}
    if "properties" in node:
        result["properties"] = {name: _inlined(each, defs) for name, each in node["properties"].items()}
    if "items" in node:
        result["items"] = _inlined(node["items"], defs)
    if isinstance(values := node.get("additionalProperties"), Mapping):
        result["additionalProperties"] = _inlined(values, defs)
    return result
