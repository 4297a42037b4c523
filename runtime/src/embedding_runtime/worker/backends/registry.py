"""Backends by name: modules with `load(spec, options) -> Backend`, imported on demand because that takes seconds."""

import gc
import importlib
import os
from collections.abc import Mapping
from contextlib import nullcontext
from types import ModuleType

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused, ModelSpec, remote_code
from embedding_runtime.model.size_check import check_sizes
from embedding_runtime.worker.backends import pickles, vllm_limits
from embedding_runtime.worker.backends.base import Backend, LoadOptions
from embedding_runtime.worker.backends.light import light_imports

__all__ = ["load"]

_MODULES: Mapping[BackendName, str] = {
    BackendName.VLLM: "embedding_runtime.worker.backends.vllm",
    BackendName.HUGGINGFACE: "embedding_runtime.worker.backends.huggingface",
    BackendName.FAKE: "embedding_runtime.worker.backends.fake",
}

_STATIC = "embedding_runtime.worker.backends.static"
"""Instead of huggingface's, for models without a transformer."""

# Libraries read these while they are imported.
_ALWAYS: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",  # the model's directory is complete
    "GLOO_SOCKET_IFNAME": "lo",  # vLLM starts Gloo even for one process, which would resolve the host name
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # vLLM's three processes do not fit into 2 GiB
}
_UNLESS_SET: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    # Torch and oneDNN cache compiled products by number of tokens, which differs in nearly every batch. With their
    # default of 1,024 entries the caches take 1 GiB.
    "LRU_CACHE_CAPACITY": "128",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    "TQDM_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


_DEFAULTS = LoadOptions()


def _check_code(spec: ModelSpec) -> None:
    """Raises ModelRefused if the model needs code that may not run: another backend would not help."""
    if not spec.remote_code and remote_code.has_code(spec.root):
        importlib.import_module("embedding_runtime.worker.backends.remote_code").prepare(spec)


def _imported(module: str) -> ModuleType:
    """Import a backend without garbage collections, which would traverse the objects of its libraries over and over.

    vLLM collects seven times while it loads a model; with these objects frozen that takes half as long.
    """
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


def load(name: BackendName, spec: ModelSpec, options: LoadOptions = _DEFAULTS, *, allow_pickle: bool) -> Backend:
    """Load a model with a backend, which takes seconds to a minute. Raises ModelRefused."""
    if name is not BackendName.FAKE and not allow_pickle:
        pickles.check(spec)
    if name is not BackendName.FAKE and not spec.static:
        check_sizes(spec.directory)
    os.environ.update(_ALWAYS)
    os.environ.update({variable: value for variable, value in _UNLESS_SET.items() if variable not in os.environ})
    if name is BackendName.VLLM:
        _check_code(spec)
        vllm_limits.check(spec)  # before its import, which takes half a minute
    # vLLM and a model's own code may need the modules that are left out.
    static = name is BackendName.HUGGINGFACE and spec.static
    light = name is BackendName.HUGGINGFACE and not (spec.remote_code or static)
    with light_imports() if light else nullcontext():
        try:
            module = _imported(_STATIC if static else _MODULES[name])
        except ModuleNotFoundError as error:
            raise ModelRefused(
                f"--backend={name} is not installed: {error}; install the extra of embedding-runtime that has it"
            ) from error
        backend: Backend = module.load(spec, options)
    return backend
