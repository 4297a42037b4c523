"""A module of the model's own code in place of sentence-transformers' Transformer, such as jina-embeddings-v3's.

sentence-transformers loads it. It computes the token vectors; pooling and the steps after it are ours. What the module
does to texts (it may have a tokenizer of its own, or change texts first) and to token vectors is not known, so that the
vectors of a few texts are compared with those of `SentenceTransformer.encode`.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.modeling_outputs import BaseModelOutput

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import padded

__all__ = ["Loaded", "OwnModule", "load"]


class OwnModule(nn.Module):
    """Gives a module of sentence-transformers the parts of a transformers model that padded batches need."""

    def __init__(self, module: nn.Module, config: Any, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.config, self.device, self.dtype = module, config, device, dtype

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Any:
        """Return the token vectors as transformers does."""
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if token_type_ids is not None:
            features["token_type_ids"] = token_type_ids
        return BaseModelOutput(last_hidden_state=self.module(features)["token_embeddings"])

    def set_attn_implementation(self, name: str) -> None:
        """Does nothing: the attention of the module cannot be replaced."""


class Loaded(NamedTuple):
    """A loaded module, and the test of the complete model."""

    model: OwnModule
    check: Callable[[Callable[[Tensor, TokenBatch], Tensor]], None]
    """Compares vectors that are made with this head with sentence-transformers'. Raises ModelRefused."""


def load(spec: ModelSpec) -> Loaded:
    """Load the module. Raises ModelRefused."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 takes seconds, and few models need it

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = getattr(torch, spec.dtype)
    name = str(spec.custom_module)
    try:
        module = get_class_from_dynamic_module(name, str(spec.root), local_files_only=True)
        config = AutoConfig.from_pretrained(spec.directory, local_files_only=True, trust_remote_code=True)
        whole = SentenceTransformer._load_with_module_classes(  # noqa: SLF001 the only way to give it a class
            str(spec.root),
            {name: _with_one_cache_dir(module)},
            device=str(device),
            trust_remote_code=True,
            local_files_only=True,
            model_kwargs={"dtype": dtype},
        )
    except Exception as error:  # the module's own code can raise anything
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise ModelRefused(
            f"{spec.root / 'modules.json'} has type {spec.custom_module!r}, and sentence-transformers cannot load it: "
            f"{words}; use a revision of the model that works with the installed sentence-transformers"
        ) from error
    model = OwnModule(whole[0], config, device, dtype).eval()
    _check_weights(spec, model)

    def check(head: Callable[[Tensor, TokenBatch], Tensor]) -> None:
        _compare(spec, model, head, whole.encode)

    return Loaded(model, check)


_ARGUMENTS = ("model_args", "tokenizer_args", "config_args")


def _with_one_cache_dir(module: Any) -> Any:
    """The class, without `cache_dir=None` in its arguments, where sentence-transformers 6 has it.

    Modules that were written for earlier releases, such as jina-embeddings-v3's, pass another one to transformers.
    """

    class Module(module):  # type: ignore[misc] # a class of the model
        @functools.wraps(module.__init__)  # type: ignore[misc] # its signature is read
        def __init__(self, *args: Any, **given: Any) -> None:
            for arguments in (given[name] for name in _ARGUMENTS if isinstance(given.get(name), dict)):
                if arguments.get("cache_dir", "") is None:
                    del arguments["cache_dir"]
            super().__init__(*args, **given)

    return Module


def _check_weights(spec: ModelSpec, model: OwnModule) -> None:
    """Raises ModelRefused if a weight of the module is in no file: the module may have initialized it randomly."""
    saved = {name for file in sorted(spec.directory.glob("*.safetensors")) for name in _names(file)}
    if not saved:
        raise ModelRefused(
            f"{spec.directory} has no .safetensors file, which a model with the module {spec.custom_module} needs: "
            "save its weights as safetensors"
        )
    shared: dict[int, bool] = {}
    weights = dict(model.module.named_parameters(remove_duplicate=False))
    for name, weight in weights.items():  # a shared weight is saved once
        shared[weight.data_ptr()] = shared.get(weight.data_ptr(), False) or _is_saved(name, saved)
    missing = [
        name for name, weight in weights.items() if not shared[weight.data_ptr()] and "pooler" not in name.split(".")
    ]
    if missing:
        raise ModelRefused(
            f"the weights in {spec.directory} lack {', '.join(missing[:_MAX_LISTED])} ({len(missing)} in all) of the "
            f"module {spec.custom_module}: use a complete copy of the model"
        )


_MAX_LISTED = 10
"""Missing weights that a message lists."""


def _names(file: Path) -> Sequence[str]:
    with safe_open(file, "pt") as opened:
        return list(opened.keys())


def _is_saved(name: str, saved: set[str]) -> bool:
    """Whether a weight is in the files, perhaps without the names of the modules around it."""
    parts = name.split(".")
    return any(".".join(parts[start:]) in saved for start in range(len(parts)))


_PROBES = ("The quick Brown fox, 42 times.", "Ünïcödé ÅΣß — 你好", " two  spaces ", "one two three four " * 12)

_MINIMUM_COSINE = 0.9999


def _compare(
    spec: ModelSpec,
    model: OwnModule,
    head: Callable[[Tensor, TokenBatch], Tensor],
    encode: Callable[[list[str]], Any],
) -> None:
    forward = padded.prepare(model)  # type: ignore[arg-type] # it has the parts that are needed
    for text, ids in zip(_PROBES, TextTokenizer(spec).encode(_PROBES).singles(), strict=True):
        if ids.tokens > spec.max_length:
            continue
        with torch.inference_mode():
            found = head(forward(ids), ids)[0].float().cpu().numpy()
        wanted = np.asarray(encode([text])[0], dtype=np.float32)
        cosine = float(found @ wanted / (np.linalg.norm(found) * np.linalg.norm(wanted)))
        if not cosine >= _MINIMUM_COSINE:
            raise ModelRefused(
                f"{spec.root / 'modules.json'} has type {spec.custom_module!r}, and this server's vector of {text!r} "
                f"has a cosine similarity of {cosine:.5f} to SentenceTransformer.encode's: the module changes texts or "
                "tokens in a way that this server does not know; use sentence-transformers in the client"
            )
