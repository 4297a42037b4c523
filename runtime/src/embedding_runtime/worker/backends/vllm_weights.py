"""vLLM's loader with a complete check for missing weights.

vLLM's own check skips linear layers and parts of fused ones, and serves uninitialized memory for missing weights. This
loader initializes every parameter to NaN, so that parameters that are not loaded can be found in every class.
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from vllm.config import ModelConfig
from vllm.config.load import LoadConfig
from vllm.model_executor.model_loader import DefaultModelLoader, register_model_loader

__all__ = ["LOAD_FORMAT", "WeightsMissing"]

LOAD_FORMAT = "embedding_runtime"


class WeightsMissing(Exception):
    """Parameters without weights, or with NaN, by vLLM's names. A fused one combines several weights of the files."""


@register_model_loader(LOAD_FORMAT)
class _Loader(DefaultModelLoader):  # type: ignore[misc] # vLLM has no types
    def __init__(self, load_config: LoadConfig) -> None:
        # "auto" would prefer consolidated.safetensors, which transformers does not read.
        super().__init__(replace(load_config, load_format="hf"))
        self.enable_weights_track = False  # vLLM's own check, see above

    def load_weights(self, model: nn.Module, model_config: ModelConfig) -> None:
        if (Path(model_config.model) / _WEIGHTS).is_file():
            # transformers then reads only this file; vLLM would read every .safetensors file next to it, too.
            model.allow_patterns_overrides = [_WEIGHTS]  # type: ignore[assignment] # vLLM's own attribute
        counted = {name: weight.data for name, weight in model.named_parameters() if weight.dtype in _FLOATS}
        for weight in counted.values():
            weight.fill_(torch.nan)
        super().load_weights(model, model_config)
        scores = any(name.endswith("ForSequenceClassification") for name in model_config.architectures)
        missing = [
            name
            for name, weight in model.named_parameters()
            if weight.dtype in _FLOATS and weight.isnan().any() and (scores or "pooler" not in name.split("."))
        ]
        if missing:
            raise WeightsMissing(", ".join(sorted(missing)))


_WEIGHTS = "model.safetensors"

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Types that can hold NaN. Quantized weights have others, and are covered by the self test."""
