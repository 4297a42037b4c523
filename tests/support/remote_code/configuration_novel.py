"""The configuration of a kind of model that transformers has no code for; it lies in the model's directory."""

import os
from pathlib import Path

from transformers import PreTrainedConfig

__all__ = ["NovelConfig"]

if "OWN_CODE_RAN" in os.environ:
    Path(os.environ["OWN_CODE_RAN"]).touch()  # for a test that asks whether this was run


class NovelConfig(PreTrainedConfig):  # type: ignore[no-untyped-call]
    model_type = "novel"

    vocab_size: int = 320
    hidden_size: int = 32
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    max_position_embeddings: int = 96
    pad_token_id: int | None = None
    homemade: bool = False
    """Attention of its own, in place of which no other can be put."""
