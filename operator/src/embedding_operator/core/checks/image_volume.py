"""A model that nodes are to mount as an image."""

from collections.abc import Mapping

from embedding_operator.core.checks.problems import invalid
from embedding_operator.core.objects import Raw
from embedding_operator.errors import Problem
from embedding_operator.resources.v1alpha1 import ModelSpec
from embedding_runtime.contract import ModelUri, OciUri

__all__ = ["check_image_volume", "wants_image_volume"]

_FIELD = "spec.model.imageVolume"
_SINCE = (1, 35)
"""Older API servers drop image volumes from pods without an error, unless a feature gate is set."""


def wants_image_volume(raw_service: Raw) -> bool:
    """Whether `Snapshot.server_version` is asked for."""
    model = (raw_service.get("spec") or {}).get("model")
    return isinstance(model, Mapping) and model.get("imageVolume") is True


def check_image_volume(model: ModelSpec, uri: ModelUri | None, server_version: tuple[int, int] | None) -> list[Problem]:
    """`server_version`: of the API server; None: there is no cluster."""
    if not model.image_volume:
        return []
    problems = []
    if uri is not None and not (isinstance(uri, OciUri) and uri.digest):
        words = "nodes mount an image by its digest: use oci://registry/repository@sha256:DIGEST in spec.model"
        problems.append(f"{_FIELD}: {words}.storageUri, or leave imageVolume out")
    given = {
        "cache": model.cache,
        "storageUris": model.storage_uris,
        "storageContainerName": model.storage_container_name,
        "tokenSecretRef": model.token_secret_ref,
    }
    if others := [f"spec.model.{name}" for name, value in given.items() if value]:
        words = f"nothing is downloaded, but {' and '.join(others)} configures a download"
        problems.append(f"{_FIELD}: {words}: leave one of both out")
    if server_version is not None and server_version < _SINCE:
        version, since = (".".join(map(str, each)) for each in (server_version, _SINCE))
        words = f"the API server has version {version}, and drops image volumes before {since}"
        problems.append(f"{_FIELD}: {words}: upgrade the cluster, or leave imageVolume out")
    return invalid(problems)
