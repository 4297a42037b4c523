"""A spec, a storage container and the settings -> a service with every default applied, or every problem at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import ValidationError

from embedding_operator.core import flags, requirements, storage
from embedding_operator.core.checks.accelerators import check_accelerator
from embedding_operator.core.checks.cache import check_cache, check_owner
from embedding_operator.core.checks.image_volume import check_image_volume
from embedding_operator.core.checks.name import check_name
from embedding_operator.core.checks.parts import check_parts
from embedding_operator.core.checks.policy import check_image, check_storage_image
from embedding_operator.core.checks.problems import invalid
from embedding_operator.core.checks.resources import check_resources
from embedding_operator.core.checks.secrets import check_key, check_secrets, is_met, keys_by_secret
from embedding_operator.core.checks.uri import check_update_policy, check_uri
from embedding_operator.core.model_cache.shared import SharedModel
from embedding_operator.core.names import cache_name
from embedding_operator.core.objects import Raw
from embedding_operator.core.pins import Pin
from embedding_operator.core.reasons import Reason
from embedding_operator.core.snapshot import Snapshot, StorageRead
from embedding_operator.core.versions import at_version, may_move
from embedding_operator.core.wording import shortened
from embedding_operator.errors import Problem, Refused
from embedding_operator.resources.kubernetes import KeyRef
from embedding_operator.resources.v1alpha1 import EmbeddingService, Rollout
from embedding_operator.resources.words import in_words, without_unknown
from embedding_operator.settings import Settings
from embedding_runtime.contract import SCHEMES, ForeignUri, ModelUri, OciUri, ServeArgs, without_secrets

__all__ = ["ResolvedService", "cache_claim", "resolve_service", "secrets_needed"]

_DEFAULT_REPLICAS = 1
_UPDATE_INTERVAL = 3600  # seconds
_SHOWN = 200
"""The most characters of a URI in a message."""


@dataclass(frozen=True)
class ResolvedService:
    """A valid service with defaults applied."""

    service: EmbeddingService
    uri: ModelUri
    serve: ServeArgs
    fetcher: storage.Fetcher
    """Its container names the Secrets that the pods may use, and no others."""
    secret_keys: Mapping[str, KeyRef] = field(default_factory=dict)
    """The keys of Secrets that the initializer gets, by variable; optional ones that do not exist are left out."""
    replicas: int = _DEFAULT_REPLICAS
    accelerator: str = "cpu"
    """The resource that the runtime image was chosen by."""
    image: str = ""
    """The runtime's image."""
    rollout: Rollout = field(default_factory=Rollout)
    notes: tuple[str, ...] = ()
    """What users should know although nothing is wrong."""
    shared: SharedModel | None = None
    """The model in a ModelCache, where the service has no cache of its own; set when it is known."""
    pin: Pin | None = None
    """The version that the pods get, where the URI has none; set when it is known."""

    @property
    def follows(self) -> bool:
        """A newer version of the model is to replace the present one."""
        return self.service.spec.model.update_policy == "Follow"

    @property
    def update_interval(self) -> int:
        """Seconds between two checks, if it follows."""
        return self.service.spec.model.update_interval_seconds or _UPDATE_INTERVAL

    @property
    def shown_uri(self) -> str:
        """For messages."""
        return shortened(without_secrets(self.service.spec.model.storage_uri), _SHOWN)

    @property
    def cache_claim(self) -> str | None:
        """The claim of the model's cache; None: it has none."""
        cache = self.service.spec.model.cache
        if cache is None:
            return self.shared.cache.claim if self.shared else None
        return cache.persistent_volume_claim or cache_name(self.service.metadata.name)

    @property
    def model_image(self) -> str | None:
        """The image that nodes mount as the model, by its digest; None: the model is downloaded."""
        if not (self.service.spec.model.image_volume and isinstance(self.uri, OciUri)):
            return None
        return f"{self.uri.registry}/{self.uri.repository}@{self.uri.digest}"

    @property
    def pinned_uri(self) -> str:
        """What the initializer downloads."""
        return self.uri_at(self.pin.revision if self.pin else None)

    def uri_at(self, version: str | None) -> str:
        """The URI at that commit or digest, if it can name one."""
        if version is None or not may_move(self.uri):
            return self.service.spec.model.storage_uri
        return str(at_version(self.uri, version))


def resolve_service(snapshot: Snapshot, settings: Settings) -> ResolvedService:
    """Raises Refused with every problem."""
    service, unreadable = _read(snapshot.service)
    if service is None:
        raise Refused(unreadable)
    if not settings.policy.secrets.require_label:
        snapshot = replace(snapshot, unlabelled_secrets=frozenset())
    spec = service.spec
    serve, bad_flags = flags.serve_args(service, settings.policy)
    uri, bad_uri = check_uri(spec.model.storage_uri)
    fetcher, no_fetcher = _select(service, snapshot.service, uri, snapshot.storage_containers)
    needed = requirements.requirements(service, fetcher or storage.BUILT_IN)
    accelerator, bad_accelerator = check_accelerator(spec, settings)
    problems = [
        *unreadable,
        *check_name(service.metadata.name),
        *bad_uri,
        *check_update_policy(spec.model, uri),
        *check_cache(spec.model.cache, uri),
        *_check_claim(snapshot),
        *check_image_volume(spec.model, uri, snapshot.server_version),
        *check_parts(spec.model),
        *bad_flags,
        *check_resources(spec.resources, "spec.resources"),
        *bad_accelerator,
        *check_image(spec.image, settings),
        *_check_keys(service),
        *no_fetcher,
        *(_check_fetcher_of_parts(service, snapshot.storage_containers, fetcher) if fetcher else ()),
        *(check_storage_image(fetcher, settings) if fetcher else ()),
        *check_secrets(needed, snapshot),
    ]
    if problems or serve is None or uri is None or fetcher is None:
        raise Refused(problems)
    return ResolvedService(
        service=service,
        uri=uri,
        serve=serve,
        fetcher=replace(fetcher, container=requirements.without_unmet(fetcher.container, needed, snapshot, settings)),
        secret_keys={each.variable: each.ref for each in needed if each.variable and is_met(each, snapshot)},
        replicas=_DEFAULT_REPLICAS if spec.replicas is None else spec.replicas,
        accelerator=accelerator,
        image=spec.image or settings.runtime_images[accelerator],
        rollout=spec.rollout,
        notes=requirements.notes(fetcher, needed, snapshot),
    )


def secrets_needed(raw_service: Raw, storage_reads: Sequence[StorageRead]) -> Mapping[str, frozenset[str]]:
    """The Secrets of the service's namespace that `Snapshot.secrets` must have, and the keys that are asked for.

    A spec that cannot be read needs none.
    """
    service, _ = _read(raw_service)
    if service is None:
        return {}
    uri, _ = check_uri(service.spec.model.storage_uri)
    fetcher, _ = _select(service, raw_service, uri, storage_reads)
    return keys_by_secret(requirements.requirements(service, fetcher or storage.BUILT_IN))


def cache_claim(raw_service: Raw) -> str | None:
    """The claim whose `Snapshot.cached` is asked for."""
    cache = ((raw_service.get("spec") or {}).get("model") or {}).get("cache")
    if not isinstance(cache, Mapping):
        return None
    return cache.get("persistentVolumeClaim") or cache_name(raw_service["metadata"]["name"])


def _read(raw: Raw) -> tuple[EmbeddingService | None, list[Problem]]:
    """The service, as far as it can be read: unknown fields are problems, and hide no others."""
    spec = {**raw, "status": {}}  # ours, and maybe a newer release's
    try:
        return EmbeddingService.model_validate(spec), []
    except ValidationError as error:
        problems = invalid(in_words(error, EmbeddingService))
        try:
            return EmbeddingService.model_validate(without_unknown(spec, error)), problems
        except ValidationError:
            return None, problems


def _select(
    service: EmbeddingService, raw: Raw, uri: ModelUri | None, reads: Sequence[StorageRead]
) -> tuple[storage.Fetcher | None, list[Problem]]:
    model, namespace = service.spec.model, service.metadata.namespace
    if model.image_volume:
        return storage.NOTHING, []
    if model.storage_container_name is not None:
        fetcher, problem = storage.named(model.storage_container_name, namespace, reads)
    else:
        fetcher, problem = storage.match(model.storage_uri, namespace, reads, _in_use(raw))
    if problem is not None:
        return None, [problem]
    if isinstance(uri, ForeignUri) and fetcher is not None and fetcher.is_ours:
        why_not = uri.problem or f"it knows {', '.join(SCHEMES)} only"
        message = (
            f"no storage container fetches {without_secrets(model.storage_uri)}, nor does the built-in initializer "
            f"({why_not}): create a StorageContainer with an image that fetches {uri.scheme}://"
        )
        return None, [Problem(Reason.STORAGE_CONTAINER_NOT_FOUND, message)]
    return fetcher, []


def _check_fetcher_of_parts(
    service: EmbeddingService, reads: Sequence[StorageRead], fetcher: storage.Fetcher
) -> list[Problem]:
    """One container downloads the model and its parts: with its credentials, only what it is for."""
    problems = []
    for number, part in enumerate(service.spec.model.storage_uris):
        field = f"spec.model.storageUris[{number}].uri"
        uri, shown = check_uri(part.uri, field)[0], without_secrets(part.uri)
        own = fetcher
        if service.spec.model.storage_container_name is None:
            own = storage.match(part.uri, service.metadata.namespace, reads).fetcher or fetcher
        if (own.kind, own.name) != (fetcher.kind, fetcher.name):
            words = f"{own} is for {shown}, and {fetcher} for spec.model.storageUri: use sources of one of them"
            problems.append(f"{field}: {words}")
        elif isinstance(uri, ForeignUri) and fetcher.is_ours:
            problems.append(f"{field}: the built-in initializer does not download {shown}")
    return invalid(problems)


def _check_claim(snapshot: Snapshot) -> list[Problem]:
    claim, namespace = cache_claim(snapshot.service), snapshot.service["metadata"].get("namespace")
    if claim is None or namespace is None:
        return []
    owner = next((each.location for each in snapshot.shared_caches if each.location.owns(claim, namespace)), None)
    remedy = "leave spec.model.cache out, then the service mounts what that cache has, if it allows the namespace"
    return check_owner("spec.model.cache", claim, owner, remedy)


def _in_use(raw: Raw) -> tuple[str, str | None] | None:
    """What fetched the model so far, as the status says."""
    recorded = (raw.get("status") or {}).get("storageContainer") or {}
    return (recorded["kind"], recorded.get("name")) if recorded.get("kind") else None


def _check_keys(service: EmbeddingService) -> list[Problem]:
    token, auth = service.spec.model.token_secret_ref, service.spec.auth
    return [
        *(check_key(token.key, "spec.model.tokenSecretRef.key") if token else ()),
        *(check_key(auth.api_keys_secret_ref.key, "spec.auth.apiKeysSecretRef.key") if auth else ()),
    ]
