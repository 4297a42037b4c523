"""Loads the model with the selected backend."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.model import ModelSpec
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.base import Backend, LoadOptions
from embedding_runtime.worker.backends.choice import Choice

__all__ = ["LoadedBackend", "choice_of", "load"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadedBackend:
    """A backend that has loaded the model and is not warmed up."""

    spec: ModelSpec
    backend: Backend
    seconds: float
    """How long loading took."""
    on_gpu: bool


def choice_of(share: Mapping[str, Any]) -> Choice:
    """The selected backend."""
    choice = Choice(**share["choice"])
    return replace(choice, backend=BackendName(choice.backend))


def load(args: ServeArgs, share: Mapping[str, Any]) -> LoadedBackend:
    """Load the model with the selected backend. Raises ModelRefused, or what a library raises."""
    begin = time.monotonic()
    spec, choice = ModelSpec.from_args(args), choice_of(share)
    if (scratch := share.get("scratch")) is not None:
        spec = replace(spec, converted_tokenizer=Path(scratch, "tokenizer.json"))
    _log.info("loading %s in %s with %s: %s", spec.directory, spec.dtype, choice.backend, choice.reason)
    for assumption in spec.assumed:
        _log.warning("assumption: %s", assumption)
    if withheld := spec.token_heads.withheld:
        _log.warning("%s: it is served without these outputs", withheld)
    options = LoadOptions(args.minimum_cosine, args.allow_padded, share.get("workers_on_gpu", 1))
    backend = registry.load(choice.backend, spec, options, allow_pickle=args.allow_pickle)
    seconds = time.monotonic() - begin
    _log.info("loaded in %.1f s: %s; warming up", seconds, backend.detail)
    return LoadedBackend(spec, backend, seconds, on_gpu=share.get("gpu") is not None)
