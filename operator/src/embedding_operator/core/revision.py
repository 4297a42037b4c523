"""What can move a service's vectors, hashed: its revision.

Two pods of one revision give the same vectors, so a Service may select both. A change that gives another revision is
rolled out beside the serving one; any other change replaces pods one by one.
"""

from collections.abc import Mapping
from typing import Any

from embedding_operator.constants import REVISION_LABEL, TEMPLATE_ANNOTATION
from embedding_operator.core import names
from embedding_operator.core.build.base import digest
from embedding_operator.core.build.pods import pod_template, uses_hub
from embedding_operator.core.checks.parts import directory_of
from embedding_operator.core.requirements import TOKEN_VARIABLE
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.versions import is_fixed
from embedding_operator.settings import CPU, Settings
from embedding_runtime.contract import CANNOT_MOVE_VECTORS, BackendName

__all__ = ["revision_and_template"]

_LENGTH = 8
"""Hexadecimal digits: as many as a ReplicaSet's hash has."""


def revision_and_template(resolved: ResolvedService, settings: Settings) -> tuple[str, dict[str, Any]]:
    """The revision, and the pod template with the labels and the digest that tell its pods from others."""
    bare = pod_template(resolved, settings)
    revision = digest(_identity(resolved, settings, bare), _LENGTH)
    labels = {**names.labels(resolved.service), REVISION_LABEL: revision}
    template = {"metadata": {"labels": labels}, **bare}
    template["metadata"]["annotations"] = {TEMPLATE_ANNOTATION: digest(template)}
    return revision, template


def _identity(resolved: ResolvedService, settings: Settings, template: Mapping[str, Any]) -> dict[str, Any]:
    """JSON of all that can move vectors.

    Of the initializer: whatever a storage container sets but a token, and the hub; not the built-in image, which
    fetches what the URI says in every release. With an accelerator a second pod may not fit beside the serving one, so
    a change that goes wrong needs a way back, which only revisions have: then every change of the pods is one. Flags at
    their defaults are left out, as in the pod's arguments: a flag that the runtime learns moves nothing. vllm is left
    out as auto is, which took its place as the default: services keep their revision, whichever of the two they had.
    The version of the model is added where it is not in the URI: other revisions stay those of earlier releases.
    The same image is another revision if nodes mount it: one that cannot must not cost the pods that serve.
    Where auto is huggingface, its vectors are those that vllm would give, to a cosine of 0.9999, or vllm refuses.
    """
    container = resolved.fetcher.container.model_dump(by_alias=True, exclude_defaults=True, exclude_none=True)
    env = [each for each in container.get("env", ()) if each["name"] != TOKEN_VARIABLE]
    given = resolved.serve.model_dump(exclude_defaults=True)
    if resolved.serve.backend is BackendName.VLLM:
        del given["backend"]
    flags = {name: value for name, value in given.items() if name not in CANNOT_MOVE_VECTORS}
    parts = [[part.uri, str(directory_of(part))] for part in resolved.service.spec.model.storage_uris]
    return {
        "uri": resolved.service.spec.model.storage_uri,
        "flags": {name: str(value) for name, value in flags.items()},
        "image": resolved.image,
        "fetcher": {key: container[key] for key in ("image", "command", "args") if key in container},
        "env": env,
        "hub": settings.hf_endpoint if uses_hub(resolved) else None,
        "pods": template if resolved.accelerator != CPU else None,
        **({"version": resolved.pin.version} if resolved.pin and not is_fixed(resolved.uri) else {}),
        **({"parts": parts} if parts else {}),
        **({"image": True} if resolved.model_image else {}),
    }
