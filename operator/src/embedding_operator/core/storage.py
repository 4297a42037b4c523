"""Which storage container fetches a URI.

One that cannot be read holds the services that it fetches for: until it is corrected, nothing else is selected in its
place, which could fetch another model, or fetch without the mirror and the token that it names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from embedding_operator.core.checks.container import check_container
from embedding_operator.core.objects import Raw
from embedding_operator.core.reasons import Reason
from embedding_operator.core.snapshot import StorageRead
from embedding_operator.core.uri_formats import Rank, UriFormats, read_formats
from embedding_operator.errors import Problem
from embedding_operator.resources.kubernetes import Container, KeyRef
from embedding_operator.resources.storage_container import ClusterStorageContainer, StorageContainer
from embedding_operator.resources.words import in_words

__all__ = [
    "BUILT_IN",
    "NOTHING",
    "AnyStorageContainer",
    "Fetcher",
    "Selection",
    "match",
    "named",
    "out_of_use",
    "read",
]

AnyStorageContainer = StorageContainer | ClusterStorageContainer

_MODELS: Mapping[str, type[AnyStorageContainer]] = {
    "StorageContainer": StorageContainer,
    "ClusterStorageContainer": ClusterStorageContainer,
}


@dataclass(frozen=True)
class Fetcher:
    """What fetches a model: a storage container, or the built-in initializer."""

    kind: Literal["StorageContainer", "ClusterStorageContainer", "BuiltIn"]
    name: str | None
    container: Container
    chosen_by: str = "no storage container matches"
    """Which rule chose it, in words."""
    is_catch_all: bool = False
    """It was chosen for want of one that names the URI: the Secrets that it names are optional."""

    def __str__(self) -> str:
        return f"{self.kind} {self.name}" if self.name else "the built-in initializer"

    @property
    def is_ours(self) -> bool:
        """It runs our own initializer's image, and so fetches the schemes of the contract alone."""
        return self.container.image is None

    @property
    def cache_options(self) -> tuple[str, ...]:
        """Options of `cache`. What a StorageContainer of the namespace downloads, which its author may direct anywhere,
        is not for others.
        """
        return (f"--source={self.name}",) if self.kind == "StorageContainer" else ()

    @property
    def secrets(self) -> Mapping[str, KeyRef]:
        """The keys of Secrets that it takes, by the variable they go into."""
        sources = {each.name: each.value_from for each in self.container.env}
        return {name: src.secret_key_ref for name, src in sources.items() if src and src.secret_key_ref}


BUILT_IN = Fetcher("BuiltIn", None, Container())
NOTHING = replace(BUILT_IN, chosen_by="spec.model.imageVolume: nodes pull the model, and nothing downloads it")


class Selection(NamedTuple):
    """What fetches a URI, or why nothing can for now: one of the two."""

    fetcher: Fetcher | None
    problem: Problem | None = None


def read(raw: Raw) -> StorageRead:
    """A storage container, parsed, or every reason why it cannot be used."""
    model = _MODELS[raw["kind"]]
    spec = raw.get("spec")
    formats = read_formats(spec.get("supportedUriFormats") if isinstance(spec, Mapping) else None)
    try:
        parsed = model.model_validate({**raw, "status": {}})  # ours, and maybe a newer release's
    except ValidationError as error:
        problems = in_words(error, model)
        is_about_formats = any(each.startswith("spec.supportedUriFormats") for each in problems)
        return StorageRead(raw, None, (*problems, *(() if is_about_formats else formats.problems)), formats)
    bad_container = [each.message for each in check_container(parsed.spec.container)]
    return StorageRead(raw, parsed, (*formats.problems, *bad_container), formats)


def match(
    uri: str, namespace: str | None, reads: Sequence[StorageRead], in_use: tuple[str, str | None] | None = None
) -> Selection:
    """What fetches a URI that names no storage container: of those that match, namespaced before cluster-wide ones,
    then the longest prefix, then a regex, then catch-alls; ties go by name. None matches: BUILT_IN.

    `in_use`: kind and name of the one that fetched for the service so far. If it cannot be read, it counts as a match
    wherever the part that cannot be read might be one.
    """
    ranked = [
        (each.is_cluster_wide, *rank[:2], each.raw["metadata"]["name"], rank, each)
        for each in _within_reach(namespace, reads)
        if out_of_use(each) is None and (rank := _rank(each, uri, in_use)) is not None
    ]
    if not ranked:
        return Selection(BUILT_IN)
    *_, rank, chosen = min(ranked, key=lambda each: each[:4])
    return _selected(chosen, rank.rule, is_catch_all=rank.is_catch_all)


def named(name: str, namespace: str | None, reads: Sequence[StorageRead]) -> Selection:
    """The storage container of that name, namespaced before cluster-wide ones, whatever URIs it is for."""
    found = [each for each in _within_reach(namespace, reads) if each.raw["metadata"]["name"] == name]
    if not found:
        message = (
            f"spec.model.storageContainerName: neither a StorageContainer {name!r} in namespace {namespace} nor a "
            f"ClusterStorageContainer {name!r} exists: create one, or leave the field out"
        )
        return Selection(None, Problem(Reason.STORAGE_CONTAINER_NOT_FOUND, message))
    chosen = min(found, key=lambda each: each.is_cluster_wide)
    why_not = out_of_use(chosen)
    if why_not is not None:
        message = f"spec.model.storageContainerName: {chosen} {why_not}"
        return Selection(None, Problem(Reason.STORAGE_CONTAINER_NOT_FOUND, message))
    return _selected(chosen, "spec.model.storageContainerName")


def out_of_use(storage_container: StorageRead) -> str | None:
    """Why no service may use it, if so: its author says that it is for none."""
    raw = storage_container.raw
    if raw.get("disabled") is True:
        return "is disabled: remove `disabled` to use it"
    spec = raw.get("spec")
    workload = spec.get("workloadType", "initContainer") if isinstance(spec, Mapping) else "initContainer"
    if workload == "localModelDownloadJob":
        return f"has workloadType {workload}: services use storage containers of type initContainer"
    return None


def _within_reach(namespace: str | None, reads: Sequence[StorageRead]) -> list[StorageRead]:
    return [each for each in reads if each.is_cluster_wide or each.raw["metadata"].get("namespace") == namespace]


def _rank(storage_container: StorageRead, uri: str, in_use: tuple[str, str | None] | None) -> Rank | None:
    formats: UriFormats = storage_container.formats
    rank = formats.rank(uri)
    raw = storage_container.raw
    if rank is None and formats.problems and in_use == (raw["kind"], raw["metadata"]["name"]):
        return Rank(0, -len(uri), "in use so far")
    return rank


def _selected(chosen: StorageRead, rule: str, *, is_catch_all: bool = False) -> Selection:
    if chosen.problems:
        message = (
            f"{chosen}, which fetches this model ({rule}), cannot be used until it is corrected: "
            f"{'; '.join(chosen.problems)}. Running pods stay as they are"
        )
        return Selection(None, Problem(Reason.STORAGE_CONTAINER_UNREADABLE, message))
    parsed: Any = chosen.parsed
    return Selection(Fetcher(parsed.kind, parsed.metadata.name, parsed.spec.container, rule, is_catch_all))
