"""Which storage container fetches a URI, and how it changes the built-in initializer."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import re2

from embedding_operator.api.kubernetes import Container, EnvVar, EnvVarSource, KeyRef
from embedding_operator.api.v1alpha1 import ClusterStorageContainer, Format, StorageContainer

__all__ = ["BUILT_IN", "AnyStorageContainer", "Fetcher", "bad_formats", "match", "merge", "named", "out_of_use"]

AnyStorageContainer = StorageContainer | ClusterStorageContainer

_QUIET = re2.Options()
_QUIET.log_errors = False  # a bad regex is reported in the storage container's status

_NOT_DOWNLOADED = ("pvc://", "file://")
_BEGINNING_OF_A_URI = re.compile(r"[a-z][a-z0-9+.-]*(:(/(/\S*)?)?)?")


@dataclass(frozen=True)
class Fetcher:
    """What fetches a model: a storage container, or the initializer that is built in."""

    kind: Literal["StorageContainer", "ClusterStorageContainer", "BuiltIn"]
    name: str | None
    container: Container
    is_catch_all: bool = False
    """It was chosen because nothing else claims the URI. What it takes from Secrets is optional then: it was written
    for all services of all namespaces, and not all of them have the Secret."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else "the built-in initializer"

    @property
    def is_ours(self) -> bool:
        """It runs our own initializer's image, and so fetches the schemes of the contract alone."""
        return self.container.image is None

    @property
    def secrets(self) -> Mapping[str, KeyRef]:
        """The keys of Secrets that it takes, by the variable they go into."""
        sources = {each.name: each.value_from for each in self.container.env}
        return {name: src.secret_key_ref for name, src in sources.items() if src and src.secret_key_ref}


BUILT_IN = Fetcher("BuiltIn", None, Container())


def match(uri: str, namespace: str | None, storage_containers: Sequence[AnyStorageContainer]) -> Fetcher:
    """What fetches a URI that names no storage container: of those that match, namespaced before cluster-wide ones,
    then the longest prefix, then a regex, then those without formats (catch-alls, which leave pvc:// and file:// to the
    built-in initializer: nothing is downloaded there); ties go by name. None matches: BUILT_IN.
    """
    ranked = [
        ((each.kind == "ClusterStorageContainer", *rank, each.metadata.name), each)
        for each in _within_reach(namespace, storage_containers)
        if out_of_use(each) is None and (rank := _rank(each.spec.supported_uri_formats, uri)) is not None
    ]
    if not ranked:
        return BUILT_IN
    chosen = min(ranked, key=lambda pair: pair[0])[1]
    return _catch_all(chosen) if not chosen.spec.supported_uri_formats else _fetcher(chosen)


def named(
    name: str, namespace: str | None, storage_containers: Sequence[AnyStorageContainer]
) -> tuple[Fetcher | None, str | None]:
    """The storage container of that name, namespaced before cluster-wide ones, whatever URIs it is for; or why not."""
    found = [each for each in _within_reach(namespace, storage_containers) if each.metadata.name == name]
    if not found:
        return None, f"no StorageContainer or ClusterStorageContainer {name!r} is there that could be read"
    chosen = min(found, key=lambda each: each.kind == "ClusterStorageContainer")
    why_not = out_of_use(chosen)
    return (None, f"{chosen.kind} {name}: {why_not}") if why_not else (_fetcher(chosen), None)


def out_of_use(storage_container: AnyStorageContainer) -> str | None:
    """Why no service uses it, if so."""
    if storage_container.disabled:
        return "it is disabled: take `disabled` out to use it"
    if storage_container.spec.workload_type != "initContainer":
        return f"its workloadType is {storage_container.spec.workload_type}: services use those of type initContainer"
    return None


def bad_formats(storage_container: AnyStorageContainer) -> list[str]:
    """What is wrong with its formats. Those that are listed here match nothing; the others do their work."""
    problems = []
    for index, each in enumerate(storage_container.spec.supported_uri_formats):
        where = f"spec.supportedUriFormats[{index}]"
        if (each.prefix is None) == (each.regex is None):
            problems.append(f"{where}: give exactly one of prefix and regex")
        elif each.prefix is not None and not _BEGINNING_OF_A_URI.fullmatch(each.prefix):
            problems.append(f"{where}.prefix: no URI begins with {each.prefix!r}: write scheme://..., in small letters")
        elif each.regex is not None and (error := _regex_error(each.regex)):
            problems.append(f"{where}.regex: {each.regex!r} cannot be read: {error}")
    return problems


def merge(built: Mapping[str, Any], over: Container) -> dict[str, Any]:
    """A container with the fields of another over it, by strategic-merge rules: env by name, resources by resource.

    Where Kubernetes' rules would make a container that no API server takes, whole entries win: a variable's new source
    goes in place of its old one, and both limit and request of a resource are the other's if it gives either. Its args
    go before those that are there, and the name stays.
    """
    given = over.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    merged = {**built, **{key: value for key, value in given.items() if key in {"image", "imagePullPolicy"}}}
    merged["args"] = [*given.get("args", ()), *built["args"]]
    env = {each["name"]: each for each in [*built["env"], *given.get("env", ())]}
    merged["env"] = list(env.values())
    resources = given.get("resources", {})
    touched = {name for amounts in resources.values() for name in amounts}
    merged["resources"] = {}
    for kind, amounts in built["resources"].items():
        kept = {name: value for name, value in amounts.items() if name not in touched}
        merged["resources"][kind] = kept | resources.get(kind, {})
    return merged


def _within_reach(
    namespace: str | None, storage_containers: Sequence[AnyStorageContainer]
) -> list[AnyStorageContainer]:
    return [
        each
        for each in storage_containers
        if each.kind == "ClusterStorageContainer" or each.metadata.namespace == namespace
    ]


def _rank(formats: Sequence[Format], uri: str) -> tuple[int, int] | None:
    """Smaller is better; None: no match."""
    if not formats:
        return None if uri.startswith(_NOT_DOWNLOADED) else (2, 0)
    return min((rank for each in formats if (rank := _format_rank(each, uri)) is not None), default=None)


def _format_rank(given: Format, uri: str) -> tuple[int, int] | None:
    if given.prefix is not None and given.regex is None:
        return (0, -len(given.prefix)) if uri.startswith(given.prefix) else None
    if given.regex is not None and given.prefix is None and _regex_error(given.regex) is None:
        return (1, 0) if re2.compile(given.regex, _QUIET).search(uri) else None
    return None


def _regex_error(regex: str) -> str | None:
    try:
        re2.compile(regex, _QUIET)
    except re2.error as error:
        reason = error.args[0]
        return reason.decode() if isinstance(reason, bytes) else str(reason)
    return None


def _catch_all(chosen: AnyStorageContainer) -> Fetcher:
    """With every key of a Secret optional, whether it exists or not: a pod that depended on it would be replaced when
    it is created or deleted.
    """
    env = [_optional(each) for each in chosen.spec.container.env]
    container = chosen.spec.container.model_copy(update={"env": env})
    return Fetcher(chosen.kind, chosen.metadata.name, container, is_catch_all=True)


def _optional(variable: EnvVar) -> EnvVar:
    source = variable.value_from
    if source is None or source.secret_key_ref is None:
        return variable
    ref = source.secret_key_ref.model_copy(update={"optional": True})
    return EnvVar(name=variable.name, valueFrom=EnvVarSource(secretKeyRef=ref))


def _fetcher(chosen: AnyStorageContainer) -> Fetcher:
    return Fetcher(chosen.kind, chosen.metadata.name, chosen.spec.container)
