"""The kinds of objects that the fake API server serves: a few built-in ones, and those of CRD files."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["BUILT_IN", "Kind", "kinds_of_crds"]


@dataclass(frozen=True, eq=False)
class Kind:
    """One kind at one version. `schema` is the OpenAPI schema of a custom resource, None for a built-in kind."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True
    has_status: bool = True
    has_generation: bool = True
    needs_version: bool = False
    """PUT without a resourceVersion is refused."""
    schema: dict[str, Any] | None = None

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def root(self) -> str:
        """Where the group's version is served: `/api/v1`, `/apis/apps/v1`."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"

    @property
    def resource(self) -> str:
        """`deployments.apps`, as messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """`Deployment.apps`, as messages name it."""
        return f"{self.kind}.{self.group}" if self.group else self.kind


BUILT_IN = (
    Kind("v1", "Namespace", "namespaces", namespaced=False, has_generation=False),
    Kind("v1", "ConfigMap", "configmaps", has_status=False, has_generation=False),
    Kind("v1", "Secret", "secrets", has_status=False, has_generation=False),
    Kind("v1", "Service", "services", has_generation=False),
    Kind("v1", "Pod", "pods"),
    Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", has_generation=False),
    Kind("v1", "Event", "events", has_status=False, has_generation=False),
    Kind("apps/v1", "Deployment", "deployments"),
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", needs_version=True),
    Kind("batch/v1", "Job", "jobs"),
    Kind("coordination.k8s.io/v1", "Lease", "leases", has_status=False, has_generation=False, needs_version=True),
)


@functools.cache
def kinds_of_crds(directory: Path) -> tuple[Kind, ...]:
    """The served versions of every CustomResourceDefinition in the directory's YAML files."""
    return tuple(_kinds_of_crds(directory))


def _kinds_of_crds(directory: Path) -> Iterator[Kind]:
    for file in sorted(directory.glob("*.yaml")):
        spec = yaml.safe_load(file.read_text())["spec"]
        for version in spec["versions"]:
            if version["served"]:
                yield Kind(
                    f"{spec['group']}/{version['name']}",
                    spec["names"]["kind"],
                    spec["names"]["plural"],
                    namespaced=spec["scope"] == "Namespaced",
                    has_status="status" in version.get("subresources", {}),
                    needs_version=True,
                    schema=version["schema"]["openAPIV3Schema"],
                )
