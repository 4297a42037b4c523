"""`embedding-operator render`: the objects that would be created, without a cluster."""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from embedding_operator.cli import manifests
from embedding_operator.core import storage
from embedding_operator.core.plan import desired_objects
from embedding_operator.core.resolve import secrets_needed
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.errors import BadManifests, Refused
from embedding_operator.settings import Settings

__all__ = ["main"]


def main(files: Sequence[Path], settings: Settings) -> int:
    """Print them as YAML. 1, and every problem on stderr, when something is wrong."""
    try:
        given = manifests.read(files)
        objects = _objects(given, settings)
    except BadManifests as error:
        print(error, file=sys.stderr)
        return 1
    yaml.safe_dump_all(objects, sys.stdout, sort_keys=False, allow_unicode=True, width=120)
    return 0


def _objects(given: manifests.Manifests, settings: Settings) -> list[dict[str, Any]]:
    objects: list[dict[str, Any]] = []
    problems: list[str] = []
    for raw in given.services:
        try:
            objects += desired_objects(_snapshot(raw, given), settings, datetime.now(UTC))
        except Refused as refused:
            problems += [f"{given.place(raw)}: {each.message}" for each in refused.problems]
    if problems:
        raise BadManifests(problems)
    return objects


def _snapshot(raw: Mapping[str, Any], given: manifests.Manifests) -> Snapshot:
    """Secrets that no file has are taken to be in the cluster, with the keys that are needed."""
    storage_containers = tuple(map(storage.read, given.storage_containers))
    known = {name: frozenset(values) for name, values in given.secrets.items()}
    secrets = {**secrets_needed(raw, storage_containers), **known}
    return Snapshot(raw, storage_containers=storage_containers, secrets=secrets)
