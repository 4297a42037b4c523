"""The pod template of a service: the initializer that fetches the model, and the server."""

import math
from typing import Any

from embedding_operator.constants import API_KEYS_FILE, DRAIN_ANNOTATION, INITIALIZER, SERVER
from embedding_operator.core.build.templates import render
from embedding_operator.core.build.token import mount_token
from embedding_operator.core.cache_mounts import MODELS
from embedding_operator.core.checks.parts import directory_of
from embedding_operator.core.merge import merge
from embedding_operator.core.quantity import amount
from embedding_operator.core.requirements import TOKEN_VARIABLE
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.resources.kubernetes import Container, EnvVar, EnvVarSource, KeyRef
from embedding_operator.settings import Settings
from embedding_runtime.contract import (
    CODE_VARIABLE,
    DRAIN_FILE,
    MODEL_DIR,
    PROGRESS_PORT,
    PROGRESS_PORT_VARIABLE,
    PVC_ROOT,
    STORAGE_LIMIT_VARIABLE,
    HuggingFaceUri,
    PvcUri,
    parse_uri,
)

__all__ = ["hub_variables", "own_token", "pod_template", "uses_hub"]

_EPHEMERAL_STORAGE = "ephemeral-storage"

_BEYOND_GRACE_PERIOD = 35
"""Seconds of a pod's termination beyond the server's grace period: five before SIGTERM (preStop), two to answer the
requests that still wait, five for the worker to end; the rest is to spare."""


def pod_template(resolved: ResolvedService, settings: Settings) -> dict[str, Any]:
    """Without labels and annotations, which name the revision."""
    resources = resolved.service.spec.resources
    cached = _cached(resolved)
    has_initializer = cached is None and resolved.model_image is None
    template = render(
        "pod.yaml.j2",
        termination_seconds=math.ceil(resolved.serve.grace_period) + _BEYOND_GRACE_PERIOD,
        initializer=_initializer(resolved, settings) if has_initializer else None,
        server=SERVER,
        image=resolved.image,
        pull_policy=settings.image_pull_policy,
        port=resolved.serve.http_port,
        has_cpu_limit=resources is not None and "cpu" in resources.limits,
        resources=resources.model_dump(by_alias=True, exclude_defaults=True) if resources else {},
        model_dir=str(MODEL_DIR),
        model_volume=str(MODEL_DIR.parent),
        cached=cached,
        model_image=resolved.model_image,
        claim=_claim(resolved),
        api_keys=_api_keys(resolved),
        pod_info=str(DRAIN_FILE.parent),
        drain_file=DRAIN_FILE.name,
        drain_annotation=f"metadata.annotations['{DRAIN_ANNOTATION}']",
    )
    server = next(each for each in template["spec"]["containers"] if each["name"] == SERVER)
    server["args"] = ["serve", *resolved.serve.to_argv()]
    if (key := own_token(resolved)) is not None and resolved.fetcher.is_ours and has_initializer:
        (initializer,) = template["spec"]["initContainers"]
        mount_token(template["spec"], initializer, key)
    return template


def _initializer(resolved: ResolvedService, settings: Settings) -> dict[str, Any]:
    """The container that fetches the model: the built-in one, the storage container over it, the token over both."""
    claim = _claim(resolved)
    built_in = render(
        "initializer.yaml.j2",
        name=INITIALIZER,
        image=settings.storage_image,
        pull_policy=settings.image_pull_policy,
        args=[resolved.pinned_uri, str(MODEL_DIR), *_parts(resolved)],
        model_volume=str(MODEL_DIR.parent),
        env={
            **dict(sorted(settings.download_env.items())),
            PROGRESS_PORT_VARIABLE: str(PROGRESS_PORT),
            **hub_variables(resolved, settings),
            **_limit_of_storage(resolved),
        },
        claim=claim,
        claim_dir=str(PVC_ROOT / claim) if claim else None,
    )
    return merge(merge(built_in, resolved.fetcher.container), _token(resolved))


def hub_variables(resolved: ResolvedService, settings: Settings) -> dict[str, str]:
    """What an initializer must know of the hub."""
    if not uses_hub(resolved):
        return {}
    endpoint = {"HF_ENDPOINT": settings.hf_endpoint} if settings.hf_endpoint else {}
    return {**endpoint, **({CODE_VARIABLE: "true"} if resolved.serve.trust_remote_code else {})}


def _limit_of_storage(resolved: ResolvedService) -> dict[str, str]:
    """What the kubelet lets the pod take of its node's disk: the greater limit of its two containers.

    Only for our own initializer, and only where there is a limit: other pods stay as they are.
    """
    given = (resolved.service.spec.resources, resolved.fetcher.container.resources)
    limits = [each.limits[_EPHEMERAL_STORAGE] for each in given if each and _EPHEMERAL_STORAGE in each.limits]
    if not limits or not resolved.fetcher.is_ours:
        return {}
    return {STORAGE_LIMIT_VARIABLE: str(int(max(map(amount, limits))))}


def uses_hub(resolved: ResolvedService) -> bool:
    """Whether the model or a part of it comes from the Hugging Face hub."""
    parts = resolved.service.spec.model.storage_uris
    return any(isinstance(uri, HuggingFaceUri) for uri in (resolved.uri, *(parse_uri(part.uri) for part in parts)))


def own_token(resolved: ResolvedService) -> KeyRef | None:
    """The service's own token, which wins over its storage container's."""
    return resolved.secret_keys.get(TOKEN_VARIABLE) if resolved.service.spec.model.token_secret_ref else None


def _token(resolved: ResolvedService) -> Container:
    """For an image that is not ours, which does not know of files."""
    key = own_token(resolved)
    if key is None or resolved.fetcher.is_ours:
        return Container()
    return Container(env=[EnvVar(name=TOKEN_VARIABLE, valueFrom=EnvVarSource(secretKeyRef=key))])


def _api_keys(resolved: ResolvedService) -> dict[str, str] | None:
    auth = resolved.service.spec.auth
    if auth is None:
        return None
    ref = auth.api_keys_secret_ref
    return {"secret": ref.name, "key": ref.key, "directory": str(API_KEYS_FILE.parent), "file": API_KEYS_FILE.name}


def _parts(resolved: ResolvedService) -> list[str]:
    """URIs and directories in turn: KServe's interface for several sources."""
    return [text for part in resolved.service.spec.model.storage_uris for text in (part.uri, str(directory_of(part)))]


def _cached(resolved: ResolvedService) -> dict[str, Any] | None:
    """The claim and the directory in it that has the model, if a Job has downloaded it there.

    Where no Job of a service writes to the volume, it is mounted read-only itself. Others are not, as in earlier
    releases: their pods would be replaced.
    """
    pin, shared = resolved.pin, resolved.shared
    if pin is None or pin.claim is None or pin.path is None:
        return None
    is_read_only = shared is not None and shared.cache.is_read_only
    source = {"claimName": pin.claim, **({"readOnly": True} if is_read_only else {})}
    return {"source": source, "path": str(MODELS / pin.path)}


def _claim(resolved: ResolvedService) -> str | None:
    return resolved.uri.claim if isinstance(resolved.uri, PvcUri) else None
