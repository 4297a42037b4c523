"""`embedding-operator render`: the objects that would be created, without a cluster."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from embedding_operator.cli import manifests
from embedding_operator.core.plan import desired_objects
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
            objects += desired_objects(given.snapshot(raw), settings, datetime.now(UTC))
        except Refused as refused:
            problems += [f"{given.place(raw)}: {each.message}" for each in refused.problems]
    if problems:
        raise BadManifests(problems)
    return objects
