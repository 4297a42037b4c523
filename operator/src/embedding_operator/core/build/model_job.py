"""A Job that resolves a model's version, or downloads the model into a cache."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from embedding_operator.constants import INITIALIZER, STORAGE_GROUP
from embedding_operator.core.build.base import Desired, marked
from embedding_operator.core.build.templates import render
from embedding_operator.core.build.token import mount_token
from embedding_operator.core.merge import merge
from embedding_operator.resources.kubernetes import Container, KeyRef
from embedding_operator.settings import Settings
from embedding_runtime.contract import CACHE_DIR, PROGRESS_PORT, PROGRESS_PORT_VARIABLE, RETRY_IS_USELESS

__all__ = ["cache_command", "fits", "model_job"]

_RETRIES = 3
"""Pods after the first one, if that fails with what may heal. The Job controller waits 10, 20 and 40 s before them."""

_PROGRESS = {PROGRESS_PORT_VARIABLE: str(PROGRESS_PORT)}

_LONGEST_ANSWER, _LONGEST_DOWNLOAD = 1800, 86400
"""Seconds after which a Job that hangs is ended, retries and waits for other writers included."""

_MOST_BYTES = 64 << 10
"""Of the paths that a Job must not evict: Linux runs no program with an argument of 128 KiB."""
_NEVER = 0
"""As the time of the list: no model was used so long before it that it may be evicted."""


def cache_command(
    uri: str, keep: Collection[str], now: datetime, *, capacity: int | None = None, options: Sequence[str] = ()
) -> list[str]:
    """Download into a cache. The models at the paths `keep` are not evicted for it; if these are too many to be named,
    none is evicted at all.
    """
    kept = [f"--keep={','.join(sorted(keep))}"] if keep and fits(keep) else []
    return [
        "cache",
        uri,
        str(CACHE_DIR),
        *kept,
        f"--listed-at={int(now.timestamp()) if fits(keep) else _NEVER}",
        *([f"--capacity={capacity}"] if capacity is not None else []),
        *options,
    ]


def fits(keep: Collection[str]) -> bool:
    """They can be named in a command."""
    return sum(len(each) + 1 for each in keep) <= _MOST_BYTES


def model_job(
    *,
    name: str,
    namespace: str | None,
    labels: Mapping[str, str],
    owner: Mapping[str, Any] | None,
    command: Sequence[str],
    settings: Settings,
    ttl_seconds: int,
    container: Container | None = None,
    env: Mapping[str, str] | None = None,
    token: KeyRef | None = None,
    claim: str | None = None,
) -> Desired:
    """Run the storage image with `command`, such as `["resolve", "hf://owner/name"]`.

    `labels` are those of the Job and of its pods; `owner` is the controller reference. `container`: a storage
    container's; its variables and resources go over the built-in ones, its image and arguments are not used. `env` are
    further variables, over those of all initializers; it may override both. `token` becomes a file. `claim` is
    mounted at CACHE_DIR.
    """
    job = render(
        "model_job.yaml.j2",
        retries=_RETRIES,
        deadline=_LONGEST_DOWNLOAD if claim else _LONGEST_ANSWER,
        ttl_seconds=ttl_seconds,
        useless=RETRY_IS_USELESS,
        name=INITIALIZER,
        image=settings.storage_image,
        pull_policy=settings.image_pull_policy,
        env={**dict(sorted(settings.download_env.items())), **(_PROGRESS if claim else {}), **(env or {})},
        claim=claim,
        group=STORAGE_GROUP,
        cache_dir=str(CACHE_DIR),
    )
    job["metadata"] = {"name": name, "namespace": namespace, "labels": dict(labels)}
    if owner is not None:
        job["metadata"]["ownerReferences"] = [dict(owner)]
    template = job["spec"]["template"]
    template["metadata"] = {"labels": dict(labels)}
    (built_in,) = template["spec"]["containers"]
    built_in["args"] = list(command)
    merged = merge(built_in, _given(container))
    template["spec"]["containers"] = [merged]
    if token is not None:
        mount_token(template["spec"], merged, token)
    return marked(job)


def _given(container: Container | None) -> Container:
    if container is None:
        return Container()
    return Container(env=container.env, resources=container.resources)
