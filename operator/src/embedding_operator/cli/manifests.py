"""Manifests from files: services, storage containers and Secrets, for the commands that need no cluster."""

import base64
import binascii
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from embedding_operator.constants import API_VERSION
from embedding_operator.core import storage
from embedding_operator.core.resolve import secrets_needed
from embedding_operator.core.snapshot import Snapshot, StorageRead
from embedding_operator.errors import BadManifests
from embedding_operator.resources.crd import RESOURCES
from embedding_operator.resources.words import in_words

__all__ = ["DEFAULT_NAMESPACE", "Manifests", "read", "without_image_volume"]

DEFAULT_NAMESPACE = "default"
_Key = tuple[str, str, str]
_MODELS = {resource.kind: resource for resource in RESOURCES}


@dataclass(frozen=True)
class Manifests:
    """What files hold: raw API objects, each with its namespace, in the order of the files."""

    services: tuple[dict[str, Any], ...]
    storage_containers: tuple[dict[str, Any], ...]
    secrets: Mapping[str, Mapping[str, str]]
    """Name -> key -> value, decoded; whatever namespace they are for."""
    places: Mapping[_Key, str]

    def place(self, raw: Mapping[str, Any]) -> str:
        """Where an object comes from, in words: its file, kind and name."""
        return self.places[_key(raw)]

    @property
    def storage_reads(self) -> tuple[StorageRead, ...]:
        """The storage containers as the planner has them."""
        return tuple(map(storage.read, self.storage_containers))

    def snapshot(self, raw: Mapping[str, Any]) -> Snapshot:
        """A service, and a cluster in which nothing was created for it yet.

        Secrets that no file has are taken to be in the cluster, with the keys that are needed.
        """
        needed = secrets_needed(raw, self.storage_reads)
        known = {name: frozenset(values) for name, values in self.secrets.items()}
        return Snapshot(raw, storage_containers=self.storage_reads, secrets={**needed, **known}, runs_jobs=False)

    def secret_values(self, raw: Mapping[str, Any]) -> dict[str, Mapping[str, str]]:
        """The Secrets that a service needs. One that no file has is made of the environment variables that are named
        like its keys, such as HF_TOKEN.
        """
        return {
            name: self.secrets.get(name) or {key: os.environ[key] for key in keys if key in os.environ}
            for name, keys in secrets_needed(raw, self.storage_reads).items()
        }


def read(files: Sequence[Path]) -> Manifests:
    """All documents of all files; `-` is standard input. Raises BadManifests with every problem, by file and object.

    Whether a service is valid is checked by the planner.
    """
    problems: list[str] = []
    objects: dict[_Key, dict[str, Any]] = {}
    places: dict[_Key, str] = {}
    for file in files:
        for where, document in _documents(file, problems):
            key = _key(document)
            if key in objects:
                problems.append(f"{where}: {places[key]} has it too: keep one")
            objects[key], places[key] = document, where
            problems += [f"{where}: {problem}" for problem in _unreadable(document)]
    if not problems and not any(kind == "EmbeddingService" for kind, *_ in objects):
        problems.append(f"no EmbeddingService in {', '.join(map(str, files))}")
    if problems:
        raise BadManifests(problems)
    return Manifests(
        services=tuple(obj for (kind, *_), obj in objects.items() if kind == "EmbeddingService"),
        storage_containers=tuple(obj for (kind, *_), obj in objects.items() if kind.endswith("StorageContainer")),
        secrets={name: _values(obj) for (kind, _, name), obj in objects.items() if kind == "Secret"},
        places=places,
    )


def without_image_volume(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The service with an initializer, which downloads the files that a node would mount as an image."""
    spec = raw.get("spec")
    model = spec.get("model") if isinstance(spec, Mapping) else None
    if not isinstance(spec, Mapping) or not isinstance(model, Mapping):
        return dict(raw)  # the planner says what is wrong
    kept = {name: value for name, value in model.items() if name != "imageVolume"}
    return {**raw, "spec": {**spec, "model": kept}}


def _documents(file: Path, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each object of a kind that is known, with its place in words."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        documents = [each for each in yaml.safe_load_all(text) if each is not None]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problems.append(f"{file}: cannot be read: {error}")
        return
    for document in documents:
        where, problem = _place(file, document)
        if problem:
            problems.append(f"{where}: {problem}")
        else:
            yield where, _with_namespace(document)


def _with_namespace(document: Mapping[str, Any]) -> dict[str, Any]:
    """As the API server would have it."""
    if document["kind"] == "ClusterStorageContainer":
        return dict(document)
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "namespace": metadata.get("namespace") or DEFAULT_NAMESPACE}}


def _key(obj: Mapping[str, Any]) -> _Key:
    """What identifies an object. Secrets are looked up by name alone, so two of one name are a conflict."""
    metadata = obj["metadata"]
    return obj["kind"], "" if obj["kind"] == "Secret" else metadata.get("namespace", ""), metadata["name"]


def _place(file: Path, document: Any) -> tuple[str, str | None]:
    """Where it is, and why it cannot be used."""
    if not isinstance(document, dict) or not isinstance(document.get("metadata"), dict):
        return str(file), "holds something that is no Kubernetes object: it needs apiVersion, kind and metadata"
    version, kind, name = str(document.get("apiVersion")), str(document.get("kind")), document["metadata"].get("name")
    where = f"{file}: {kind} {name}"
    if not isinstance(name, str):
        return where, "metadata.name is missing"
    if kind in _MODELS and version != API_VERSION:
        return where, f"apiVersion is {version}: write {API_VERSION}"
    if kind not in _MODELS and (version, kind) != ("v1", "Secret"):
        return where, f"{version} {kind} is not used here: there are {', '.join(_MODELS)} and Secret"
    return where, None


def _unreadable(obj: Mapping[str, Any]) -> list[str]:
    if obj["kind"] == "Secret":
        try:
            _values(obj)
        except (binascii.Error, ValueError, TypeError, AttributeError):
            return ["data does not hold text in base64: write the text itself under stringData"]
        return []
    if obj["kind"] == "EmbeddingService":
        return []  # the planner reads it, and says more
    model = _MODELS[obj["kind"]].model
    try:
        model.model_validate(obj)
    except ValidationError as error:
        return in_words(error, model)
    return []


def _values(secret: Mapping[str, Any]) -> dict[str, str]:
    data = secret.get("data") or {}
    decoded = {key: base64.b64decode(value, validate=True).decode() for key, value in data.items()}
    return decoded | {key: str(value) for key, value in (secret.get("stringData") or {}).items()}
