"""What is wrong with a service, all of it at once; and what is settled once nothing is."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import ValidationError

from embedding_operator.api.kubernetes import KeyRef, ResourceRequirements
from embedding_operator.api.v1alpha1 import EmbeddingService
from embedding_operator.api.words import in_words, without_unknown
from embedding_operator.core import flags, storage
from embedding_operator.core.observed import Observed, read_storage_containers
from embedding_operator.core.quantity import amount
from embedding_operator.core.reasons import Reason
from embedding_operator.errors import Problem, Refused
from embedding_runtime.contract import BadUri, ForeignUri, ModelUri, ServeArgs, parse_uri

__all__ = ["TOKEN_VARIABLE", "Settled", "secret_keys", "secret_keys_needed", "settle"]

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 a variable's name
_NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?")


class _Asked(NamedTuple):
    """A key of a Secret that is asked for, by what, and the option with which kubectl makes one."""

    by: str
    ref: KeyRef
    option: str


@dataclass(frozen=True)
class Settled:
    """A service that can be obeyed, with all that its spec leaves open decided."""

    service: EmbeddingService
    uri: ModelUri
    serve: ServeArgs
    fetcher: storage.Fetcher
    missing: Mapping[str, str] = field(default_factory=dict)
    """The variables that the initializer goes without, because a catch-all's Secret or its key is missing; and why."""

    @property
    def secret_keys(self) -> Mapping[str, KeyRef]:
        """The keys of Secrets that the initializer takes, by the variable they go into."""
        keys = secret_keys(self.service, self.fetcher)
        return {variable: ref for variable, ref in keys.items() if variable not in self.missing}

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know although the spec is valid."""
        return tuple(
            f"{why}: the model is downloaded without {'a token' if variable == TOKEN_VARIABLE else variable}."
            for variable, why in self.missing.items()
        )


def settle(raw: Mapping[str, Any], seen: Observed) -> Settled:
    """Raises Refused with every problem."""
    service, unreadable = _read(raw)
    if service is None:
        raise Refused(unreadable)
    serve, bad_flags = flags.serve_args(service)
    uri, bad_uri = _uri(service)
    fetcher, no_fetcher = _fetcher(service, uri, seen.storage_containers)
    problems = [
        *unreadable,
        *_invalid(_name(service)),
        *_invalid(bad_uri),
        *_invalid(bad_flags),
        *_invalid(_resources(service.spec.resources)),
        *no_fetcher,
        *(_secrets(service, fetcher, seen) if fetcher else ()),
    ]
    if problems or serve is None or uri is None or fetcher is None:
        raise Refused(problems)
    return Settled(service, uri, serve, fetcher, _missing(service, fetcher, seen))


def secret_keys_needed(
    raw_service: Mapping[str, Any], storage_containers: Sequence[Mapping[str, Any]]
) -> dict[str, frozenset[str]]:
    """The Secrets, in the service's namespace, whose keys `Observed.of` must be told; and which of their keys are asked
    for. Raw API objects; a spec that cannot be read needs none.
    """
    service, _ = _read(raw_service)
    if service is None:
        return {}
    uri, _ = _uri(service)
    fetcher, _ = _fetcher(service, uri, read_storage_containers(storage_containers))
    refs = [asked.ref for asked in _asked(service, fetcher or storage.BUILT_IN)]
    return {name: frozenset(ref.key for ref in refs if ref.name == name) for name in {ref.name for ref in refs}}


def secret_keys(service: EmbeddingService, fetcher: storage.Fetcher) -> dict[str, KeyRef]:
    """The keys of Secrets that a model is fetched with: the service's own token wins over its storage container's."""
    token = service.spec.model.token_secret_ref
    own = {TOKEN_VARIABLE: KeyRef(name=token.name, key=token.key)} if token else {}
    return {**fetcher.secrets, **own}


def _read(raw: Mapping[str, Any]) -> tuple[EmbeddingService | None, list[Problem]]:
    """The service, as far as it can be read: unknown fields are problems, but hide no others."""
    try:
        return EmbeddingService.model_validate(raw), []
    except ValidationError as error:
        problems = _invalid(in_words(error, EmbeddingService))
        try:
            return EmbeddingService.model_validate(without_unknown(raw, error)), problems
        except ValidationError:
            return None, problems


def _invalid(messages: Sequence[str]) -> list[Problem]:
    return [Problem(Reason.INVALID_SPEC, message) for message in messages]


def _name(service: EmbeddingService) -> list[str]:
    if _NAME.fullmatch(service.metadata.name):
        return []
    rule = "at most 63 small letters, digits and '-', a letter first"
    return [f"metadata.name {service.metadata.name!r} becomes a host name: {rule}"]


def _uri(service: EmbeddingService) -> tuple[ModelUri | None, list[str]]:
    try:
        return parse_uri(service.spec.model.storage_uri), []
    except BadUri as error:
        return None, [f"spec.model.storageUri: {error}"]


def _resources(resources: ResourceRequirements | None) -> list[str]:
    """What an API server would say of the pods only."""
    if resources is None:
        return []
    problems = []
    for name, limit in resources.limits.items():
        request = resources.requests.get(name, limit)
        if "/" in name and amount(request) != amount(limit):
            problems.append(f"spec.resources: request {request} and limit {limit} of {name} must be equal")
        elif amount(request) > amount(limit):
            problems.append(f"spec.resources: the request of {name}, {request}, is above its limit, {limit}")
    problems += [
        f"spec.resources.requests has {name}: ask for it in spec.resources.limits too"
        for name in resources.requests
        if "/" in name and name not in resources.limits
    ]
    return problems


def _fetcher(
    service: EmbeddingService, uri: ModelUri | None, storage_containers: Sequence[storage.AnyStorageContainer]
) -> tuple[storage.Fetcher | None, list[Problem]]:
    model, namespace = service.spec.model, service.metadata.namespace
    if model.storage_container_name is not None:
        fetcher, why_not = storage.named(model.storage_container_name, namespace, storage_containers)
    else:
        fetcher, why_not = storage.match(model.storage_uri, namespace, storage_containers), None
    if fetcher is None:
        message = f"spec.model.storageContainerName: {why_not}"
        return None, [Problem(Reason.STORAGE_CONTAINER_NOT_FOUND, message)]
    if isinstance(uri, ForeignUri) and fetcher.is_ours:
        message = (
            f"no storage container fetches {model.storage_uri}, and the built-in initializer knows hf://, pvc:// and "
            f"file:// only: make a StorageContainer with an image that fetches {uri.scheme}://"
        )
        return None, [Problem(Reason.STORAGE_CONTAINER_NOT_FOUND, message)]
    return fetcher, []


def _secrets(service: EmbeddingService, fetcher: storage.Fetcher, seen: Observed) -> list[Problem]:
    problems = []
    for by, ref, option in _asked(service, fetcher):
        keys = seen.secrets.get(ref.name)
        asked = f"{by} asks for key {ref.key} of Secret {ref.name}"
        if ref.optional or (keys is not None and ref.key in keys):
            continue
        if keys is None:
            namespace = service.metadata.namespace
            make = f"kubectl create secret generic {ref.name} -n {namespace} {option}"
            words = f"{asked}, which is not in namespace {namespace}: {make}"
        else:
            words = f"{asked}, which has {', '.join(sorted(keys)) or 'no key at all'}: add the key, or name another"
        problems.append(Problem(Reason.SECRET_NOT_FOUND, words))
    return problems


def _missing(service: EmbeddingService, fetcher: storage.Fetcher, seen: Observed) -> dict[str, str]:
    """Why a catch-all's variables stay unset."""
    if not fetcher.is_catch_all:
        return {}
    missing = {}
    for variable, ref in secret_keys(service, fetcher).items():
        keys, namespace = seen.secrets.get(ref.name), service.metadata.namespace
        if keys is None:
            missing[variable] = f"Secret {ref.name} does not exist in namespace {namespace}"
        elif ref.key not in keys:
            missing[variable] = f"Secret {ref.name} in namespace {namespace} has no key {ref.key}"
    return missing


def _asked(service: EmbeddingService, fetcher: storage.Fetcher) -> list[_Asked]:
    """All that the pods take from Secrets: what the model is fetched with, then who may ask."""
    own = TOKEN_VARIABLE if service.spec.model.token_secret_ref else None
    asked = [
        _Asked(
            "spec.model.tokenSecretRef" if variable == own else str(fetcher), ref, f"--from-literal={ref.key}=<value>"
        )
        for variable, ref in secret_keys(service, fetcher).items()
    ]
    if service.spec.auth is not None:
        keys = service.spec.auth.api_keys_secret_ref
        option = f"--from-file={keys.key}=<file of lines NAME KEY>"
        asked.append(_Asked("spec.auth.apiKeysSecretRef", KeyRef(name=keys.name, key=keys.key), option))
    return asked
