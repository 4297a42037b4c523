"""The objects that a settled service is made of."""

import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import yaml
from jinja2 import DictLoader, Environment, StrictUndefined

from embedding_operator.api.kubernetes import Container, EnvVar, EnvVarSource, KeyRef
from embedding_operator.api.v1alpha1 import EmbeddingService
from embedding_operator.constants import API_KEYS_FILE, API_VERSION, INITIALIZER, SERVER, TEMPLATE_ANNOTATION
from embedding_operator.core import names, storage
from embedding_operator.core.checks import TOKEN_VARIABLE, Settled
from embedding_operator.core.diff import digest, marked
from embedding_operator.core.quantity import amount
from embedding_operator.errors import RenderFailed
from embedding_operator.settings import CPU, Settings
from embedding_runtime.contract import MODEL_DIR, PVC_ROOT, PvcUri

__all__ = ["desired"]

_DEPLOYMENT, _SERVICE, _INITIALIZER = "deployment.yaml.j2", "service.yaml.j2", "initializer.yaml.j2"
_BESIDE_REQUESTS = 35
"""Seconds of a pod's end beside the server's grace period: five before SIGTERM (preStop), two to answer whoever still
waits, five for the worker to end; the rest is to spare."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's where there is one: ten times as fast, and it leaves less memory behind."""
_NOT_IN_YAML = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")


def desired(settled: Settled, settings: Settings) -> list[dict[str, Any]]:
    """The Deployment, then the Service: complete, each with the digest of itself, the pods with that of their template.

    Raises RenderFailed, which is a bug.
    """
    service = settled.service
    metadata = _metadata(settled)
    accelerator = _accelerator(settled, settings)
    resources = service.spec.resources
    deployment = _render(
        _DEPLOYMENT,
        metadata=metadata,
        selector=names.selector(service),
        replicas=service.spec.replicas,
        termination_seconds=math.ceil(settled.serve.grace_period) + _BESIDE_REQUESTS,
        initializer=_initializer(settled, settings),
        server=SERVER,
        image=service.spec.image or settings.runtime_images[accelerator],
        pull_policy=settings.image_pull_policy,
        args=["serve", *settled.serve.to_argv()],
        port=settled.serve.http_port,
        has_cpu_limit=resources is not None and "cpu" in resources.limits,
        resources=resources.model_dump(by_alias=True, exclude_defaults=True) if resources else {},
        model_volume=str(MODEL_DIR.parent),
        claim=_claim(settled),
        api_keys=_api_keys(service),
    )
    template = deployment["spec"]["template"]
    template["metadata"]["annotations"] = {TEMPLATE_ANNOTATION: digest(template)}
    return [
        marked(deployment),
        marked(_render(_SERVICE, metadata=metadata, selector=names.selector(service))),
    ]


def _initializer(settled: Settled, settings: Settings) -> dict[str, Any]:
    """The container that fetches the model: the built-in one, the storage container over it, the token over both."""
    claim = _claim(settled)
    built = _render(
        _INITIALIZER,
        name=INITIALIZER,
        image=settings.storage_image,
        pull_policy=settings.image_pull_policy,
        uri=settled.service.spec.model.storage_uri,
        model_dir=str(MODEL_DIR),
        model_volume=str(MODEL_DIR.parent),
        hf_endpoint=settings.hf_endpoint,
        claim=claim,
        claim_dir=str(PVC_ROOT / claim) if claim else None,
    )
    return storage.merge(storage.merge(built, settled.fetcher.container), _token(settled))


def _token(settled: Settled) -> Container:
    token = settled.service.spec.model.token_secret_ref
    if token is None:
        return Container()
    source = EnvVarSource(secretKeyRef=KeyRef(name=token.name, key=token.key))
    return Container(env=[EnvVar(name=TOKEN_VARIABLE, valueFrom=source)])


def _api_keys(service: EmbeddingService) -> dict[str, str] | None:
    if service.spec.auth is None:
        return None
    ref = service.spec.auth.api_keys_secret_ref
    return {"secret": ref.name, "key": ref.key, "directory": str(API_KEYS_FILE.parent), "file": API_KEYS_FILE.name}


def _claim(settled: Settled) -> str | None:
    return settled.uri.claim if isinstance(settled.uri, PvcUri) else None


def _accelerator(settled: Settled, settings: Settings) -> str:
    resources = settled.service.spec.resources
    limits = resources.limits if resources else {}
    return next((name for name in settings.runtime_images if name != CPU and amount(limits.get(name, "0"))), CPU)


def _metadata(settled: Settled) -> dict[str, Any]:
    meta = settled.service.metadata
    metadata: dict[str, Any] = {"name": meta.name, "namespace": meta.namespace, "labels": names.labels(settled.service)}
    if meta.uid is not None:  # from a file it has none, and owns nothing yet
        owner = {"apiVersion": API_VERSION, "kind": "EmbeddingService", "name": meta.name, "uid": meta.uid}
        metadata["ownerReferences"] = [{**owner, "controller": True}]
    return metadata


def _render(template: str, /, **values: Any) -> dict[str, Any]:
    """A template's output, parsed. The templates hold no logic beyond leaving things out."""
    text = _TEMPLATES.get_template(template).render(values)
    try:
        rendered = yaml.load(text, Loader=_Loader)  # noqa: S506 one of the safe loaders
    except yaml.YAMLError as error:
        raise RenderFailed(f"{template} gives no YAML: {error}") from error
    if not isinstance(rendered, dict) or (nothing := _nothing(rendered)):
        raise RenderFailed(f"{template} gives an object with nothing at {nothing}: {text}")
    return rendered


def _nothing(value: Any, path: str = "") -> str | None:
    """Where a value was meant to be, and is none."""
    if value is None:
        return path or "its root"
    parts = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return next((found for key, part in parts if (found := _nothing(part, f"{path}.{key}"))), None)


def _dumps(value: Any, **_: Any) -> str:
    """JSON that is YAML too: what YAML does not print is escaped, each character by itself, never as a pair."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_IN_YAML.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _environment() -> Environment:
    loader = DictLoader(
        {
            name: files("embedding_operator").joinpath("templates", name).read_text(encoding="utf-8")
            for name in (_DEPLOYMENT, _SERVICE, _INITIALIZER)
        }
    )
    environment = Environment(loader=loader, undefined=StrictUndefined, autoescape=False)  # noqa: S701 YAML, not HTML
    environment.policies["json.dumps_function"] = _dumps
    return environment


_TEMPLATES = _environment()
