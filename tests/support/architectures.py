"""Tiny models of random architectures out of transformers' registry, with random settings and weights."""

import inspect
import random
from pathlib import Path

import torch
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from support.tiny_models import MAX_LENGTH, SHAPES, a_tokenizer, spread

__all__ = ["a_random_model", "model_types"]

_SIZES: dict[str, int] = {
    **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "emb_dim", "embedding_size"), 32),
    "word_embed_proj_dim": 32,
    **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "n_inner", "ffn_dim", "ffn_hidden_size"), 64),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim"), 64),
    **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer", "num_decoder_layers"), 2),
    **dict.fromkeys(("encoder_layers", "decoder_layers"), 2),
    **dict.fromkeys(("num_attention_heads", "num_heads", "n_heads", "n_head"), 4),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 4),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), MAX_LENGTH + 2),
    **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
    **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "block_size"), 16),
    **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
    "head_dim": 8,
    "d_kv": 8,
    "rotary_dim": 8,
    "num_key_value_heads": 2,
    "num_experts_per_tok": 2,
    "chunk_size": 16,
    "mamba_chunk_size": 16,
    "type_vocab_size": 2,
    "global_attn_every_n_layers": 2,
    "local_attention": 16,
}
"""Of what a model of any type may have."""

_LARGEST = 3_000_000
"""Weights: a model for which the sizes above are not enough is left out."""

_CHOICES: dict[str, tuple[object, ...]] = {
    "hidden_act": ("gelu", "relu", "gelu_new"),
    "layer_norm_eps": (1e-12, 1e-5),
    "type_vocab_size": (1, 2),
    "sliding_window": (4, 16, None),
    "is_decoder": (False, True),
    "tie_word_embeddings": (False, True),
    "num_key_value_heads": (1, 2, 4),
    "attention_bias": (False, True),
    "rope_theta": (1e4, 1e6),
}
"""What is drawn beside the type, where the type has it."""


def model_types() -> list[str]:
    """Those with a vocabulary and without parts for pictures or sound, in an order of their own."""
    configs = {each: CONFIG_MAPPING[each] for each in CONFIG_MAPPING if each in MODEL_MAPPING_NAMES}
    found = [each for each, config in configs.items() if hasattr(config, "vocab_size") and not config.sub_configs]
    random.Random(1).shuffle(found)
    return found


def a_random_model(directory: Path, model_type: str, draw: random.Random) -> Path | None:
    """None: of this type the sizes above make no small model that takes token ids and gives a state for each."""
    shape = draw.choice(list(SHAPES.values()))
    made = a_tokenizer(shape)
    torch.manual_seed(draw.randrange(1 << 30))
    try:
        default = CONFIG_MAPPING[model_type]()
        names = {name for name in dir(default) if not name.startswith("_")} | set(default.attribute_map)
        sizes = {
            name: size for name, size in _SIZES.items() if name in names and type(getattr(default, name, 1)) is int
        }
        drawn = {
            name: draw.choice(choices) for name, choices in _CHOICES.items() if name in names and draw.random() < 0.3
        }
        tokens = {"vocab_size": len(made), "pad_token_id": made.pad_token_id, "bos_token_id": 0, "eos_token_id": 2}
        config = AutoConfig.for_model(model_type, **{**sizes, **drawn, **tokens})
        with torch.device("meta"):
            model = AutoModel.from_config(config)  # type: ignore[no-untyped-call]
        few = sum(weight.numel() for weight in model.parameters()) <= _LARGEST
        if not few or "input_ids" not in inspect.signature(model.forward).parameters:
            return None
        model = AutoModel.from_config(config).eval()  # type: ignore[no-untyped-call]
        spread(model)
        with torch.inference_mode():
            given = {"input_ids": torch.tensor([[5, 6, 7]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
            if not model(**given).last_hidden_state.isfinite().all():
                return None
        model.save_pretrained(directory)
        made.save_pretrained(directory)
    except Exception:  # noqa: BLE001 a type whose sizes do not fit together says so in many ways
        return None
    return directory
