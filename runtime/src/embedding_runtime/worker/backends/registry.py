"""Backends by name: modules with `load(spec, options) -> Backend`, imported when asked for: that takes seconds."""

import importlib
import os
from collections.abc import Mapping
from contextlib import nullcontext

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.worker.backends import pickles, vllm_limits
from embedding_runtime.worker.backends.base import Backend, LoadOptions
from embedding_runtime.worker.backends.light import light_imports

__all__ = ["load"]

_MODULES: Mapping[BackendName, str] = {
    BackendName.VLLM: "embedding_runtime.worker.backends.vllm",
    BackendName.HUGGINGFACE: "embedding_runtime.worker.backends.huggingface",
    BackendName.FAKE: "embedding_runtime.worker.backends.fake",
}

# Libraries read these while they are imported.
_ALWAYS: Mapping[str, str] = {
    "HF_HUB_OFFLINE": "1",  # all that a model needs is in its directory
    "GLOO_SOCKET_IFNAME": "lo",  # vLLM starts it even alone, and it would look the machine's own name up
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # vLLM's own layout of three processes does not fit into 2 GiB
}
_UNLESS_SET: Mapping[str, str] = {
    "DO_NOT_TRACK": "1",
    # Torch, and oneDNN below it, keep what they compiled for a number of tokens, and hardly two batches have the same:
    # 1,024 of them, their own number, are a GiB.
    "LRU_CACHE_CAPACITY": "128",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "128",
    "TQDM_DISABLE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}


_DEFAULTS = LoadOptions()


def load(name: BackendName, spec: ModelSpec, options: LoadOptions = _DEFAULTS, *, allow_pickle: bool) -> Backend:
    """A backend that has the model's weights. Takes seconds to a minute. Raises ModelRefused."""
    if name is not BackendName.FAKE and not allow_pickle:
        pickles.check(spec)
    os.environ.update(_ALWAYS)
    os.environ.update({variable: value for variable, value in _UNLESS_SET.items() if variable not in os.environ})
    if name is BackendName.VLLM:
        vllm_limits.check(spec)  # before its import, which takes half a minute
    # vLLM needs all that it leaves out, and what a model's own code needs nobody knows.
    light = name is BackendName.HUGGINGFACE and not spec.remote_code
    with light_imports() if light else nullcontext():
        try:
            module = importlib.import_module(_MODULES[name])
        except ModuleNotFoundError as error:
            raise ModelRefused(
                f"--backend={name} is not installed: {error}; install the extra of embedding-runtime that has it"
            ) from error
        backend: Backend = module.load(spec, options)
    return backend
