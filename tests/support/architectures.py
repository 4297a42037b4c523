"""Random models of transformers' architectures: tiny sizes, random settings, weights, pooling and modules after it."""

import functools
import inspect
import json
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    MT5EncoderModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5EncoderModel,
    UMT5EncoderModel,
)
from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

from support.tiny_models import MAX_LENGTH, SHAPES, a_tokenizer, as_old_format, spread

__all__ = ["TEXTS", "RandomModel", "Range", "a_random_model", "model_types"]

TEXTS = ["a", "the quick brown fox", "query " * 9, "jumps over " * 9, "the lazy dog " * 8, "<pad> in [PAD] a text"]


@dataclass(frozen=True)
class Range:
    """What may be drawn beside the type."""

    head_sizes: Sequence[int] = (8, 16)
    poolings: Sequence[str] = Pooling.POOLING_MODES
    joined: Sequence[int] = (1, 1, 1, 2)
    """How many poolings a model has."""
    dtypes: Sequence[torch.dtype] = (*[torch.float32] * 6, torch.float16, torch.bfloat16)
    """Of the weights in the model's files."""


@dataclass(frozen=True)
class RandomModel:
    """A model that sentence-transformers serves, and its vectors."""

    model_type: str
    drawn: str
    """What was drawn, for messages."""
    vectors: npt.NDArray[np.float32]
    """Of `TEXTS`, in float32: each text alone, so that no padding touches it."""


_ALL = Range()


def model_types() -> list[str]:
    """Those with a vocabulary and without parts for pictures or sound."""
    configs = {each: CONFIG_MAPPING[each] for each in CONFIG_MAPPING if each in MODEL_MAPPING_NAMES.keys() - _SLOW}
    return [each for each, config in configs.items() if hasattr(config, "vocab_size") and not config.sub_configs]


_SLOW = {"kimi_linear"}
"""Ten seconds for a model, however small."""


def a_random_model(directory: Path, seed: str, first: str, types: Sequence[str], within: Range = _ALL) -> RandomModel:
    """The model of a seed: of type `first`, or of another one of `types` if no model can be drawn of that.

    No model can be drawn of a type that needs other sizes or other inputs than ours, nor with settings that contradict
    each other or that sentence-transformers does not serve.
    """
    draw = random.Random(seed)
    for model_type in (first, *draw.sample(types, len(types))):
        try:
            model, about = _drawn_transformer(model_type, draw, draw.choice(within.head_sizes))
            about += _save(directory, model, draw, within)
            reference = SentenceTransformer(str(directory), device="cpu", model_kwargs={"dtype": "float32"})
            vectors = _alone(reference, TEXTS)
            if np.isfinite(vectors).all() and np.allclose(_alone(reference, TEXTS[-2:]), vectors[-2:], atol=1e-5):
                return RandomModel(model_type, ", ".join([model_type, *about]), vectors)
        except Exception:  # noqa: BLE001 each type says in words and classes of its own that settings do not fit
            pass
        shutil.rmtree(directory, ignore_errors=True)
    raise AssertionError(f"no model can be drawn of {', '.join(types)}")


def _alone(reference: SentenceTransformer, texts: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.concatenate([reference.encode([text], show_progress_bar=False) for text in texts])


def _drawn_transformer(model_type: str, draw: random.Random, head_size: int) -> tuple[PreTrainedModel, list[str]]:
    """With random weights. Returns what was drawn, too."""
    default = CONFIG_MAPPING[model_type]()
    names = vars(default).keys() | default.attribute_map.keys()
    heads, layers = draw.choice((2, 4)), draw.choice((1, 2, 3))
    sizes = {
        name: size
        for name, size in _sizes(heads, head_size, layers).items()
        if name in names and type(getattr(default, name, 1)) is int
    }
    settings: dict[str, Any] = {
        name: draw.choice(choices) for name, choices in _CHOICES.items() if name in names and draw.random() < _CHANGED
    }
    switches = [name for name, value in vars(default).items() if type(value) is bool and name not in _NO_SWITCHES]
    settings |= {name: not getattr(default, name) for name in sorted(switches) if draw.random() < _SWITCHED}
    tokens = {"vocab_size": _VOCABULARY, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    config = CONFIG_MAPPING[model_type](**{**sizes, **tokens, **settings})
    make: Any = _ENCODERS.get(model_type, AutoModel.from_config)
    with torch.device("meta"):
        model = make(config)
    if sum(weight.numel() for weight in model.parameters()) > _LARGEST:
        raise ValueError("too many weights")
    if "input_ids" not in inspect.signature(model.forward).parameters:
        raise ValueError("not a model of texts")
    torch.manual_seed(draw.randrange(1 << 30))
    model = make(config)
    spread(model)
    changed = [f"{name}={value}" for name, value in settings.items()]
    return model, [f"{heads} heads of {head_size}", f"{layers} layers", *changed]


def _save(directory: Path, model: Any, draw: random.Random, within: Range) -> list[str]:
    """With a tokenizer, and with sentence-transformers' modules after the transformer. Returns what was drawn."""
    stored = draw.choice(within.dtypes)
    model.to(stored).save_pretrained(directory)
    shape = draw.choice(list(SHAPES))
    _tokenizer(shape).save_pretrained(directory)
    poolings = tuple(draw.sample(within.poolings, draw.choice(within.joined)))
    size = model.config.hidden_size
    pooling = Pooling(size, poolings, include_prompt=draw.random() > _RARE)
    steps = draw.choice(((), (Normalize,), (Dense,), (Dense, Normalize), (Normalize, Dense)))
    following = [Dense(len(poolings) * size, 12) if step is Dense else step() for step in steps]
    modules = [{"idx": 0, "name": "0", "path": "", "type": f"{Transformer.__module__}.Transformer"}]
    for place, module in enumerate((pooling, *following), start=1):
        kind, path = type(module), f"{place}_{type(module).__name__}"
        (directory / path).mkdir()
        module.save(str(directory / path))
        modules.append({"idx": place, "name": str(place), "path": path, "type": f"{kind.__module__}.{kind.__name__}"})
    prompt = {"prompts": {"q": "query: "}, "default_prompt_name": "q"} if draw.random() < 2 * _RARE else {}
    (directory / "modules.json").write_text(json.dumps(modules))
    (directory / "config_sentence_transformers.json").write_text(json.dumps(prompt))
    if is_old := draw.choice((False, True)):
        as_old_format(directory)
    return [
        f"stored as {stored}",
        f"tokenizer of {shape}",
        "+".join(poolings) + " without prompt" * (not pooling.include_prompt),
        *(step.__name__ for step in steps),
        *prompt.get("prompts", ()),
        *(["old format"] if is_old else []),
    ]


@functools.cache
def _tokenizer(kind: str) -> PreTrainedTokenizerFast:
    return a_tokenizer(SHAPES[kind])


def _sizes(heads: int, head_size: int, layers: int) -> dict[str, int]:
    """Of what a model of any type may have."""
    hidden = heads * head_size
    return {
        **dict.fromkeys(("hidden_size", "d_model", "dim", "n_embd", "emb_dim", "embedding_size"), hidden),
        "word_embed_proj_dim": hidden,
        **dict.fromkeys(("intermediate_size", "d_ff", "hidden_dim", "n_inner", "ffn_dim"), 2 * hidden),
        **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "ffn_hidden_size"), 2 * hidden),
        **dict.fromkeys(("num_hidden_layers", "num_layers", "n_layers", "n_layer", "num_decoder_layers"), layers),
        **dict.fromkeys(("encoder_layers", "decoder_layers"), layers),
        **dict.fromkeys(("num_attention_heads", "num_heads", "n_heads", "n_head"), heads),
        **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), heads),
        **dict.fromkeys(("max_position_embeddings", "n_positions", "max_seq_len"), MAX_LENGTH + 4),
        **dict.fromkeys(("num_experts", "num_local_experts", "n_routed_experts"), 4),
        **dict.fromkeys(("moe_intermediate_size", "shared_expert_intermediate_size", "block_size"), 16),
        **dict.fromkeys(("n_group", "topk_group", "n_shared_experts"), 1),
        **dict.fromkeys(("head_dim", "d_kv", "rotary_dim"), head_size),
        **dict.fromkeys(("num_key_value_heads", "num_experts_per_tok", "type_vocab_size"), 2),
        **dict.fromkeys(("q_lora_rank", "kv_lora_rank", "v_head_dim"), head_size),
        **dict.fromkeys(("qk_nope_head_dim", "qk_rope_head_dim"), head_size // 2),
        "global_attn_every_n_layers": 2,
        **dict.fromkeys(("chunk_size", "mamba_chunk_size", "local_attention"), 16),
    }


_VOCABULARY = 384
"""More than any of the tokenizers has, as many models have."""

_LARGEST = 3_000_000
"""Weights: a model for which the sizes above are not enough is left out."""

_ENCODERS = {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel}
"""What sentence-transformers loads in place of the whole model."""

_CHOICES: dict[str, tuple[object, ...]] = {
    "hidden_act": ("gelu", "relu", "gelu_new", "silu"),
    "layer_norm_eps": (1e-12, 1e-5),
    "max_position_embeddings": (MAX_LENGTH + 10, 256),
    "num_key_value_heads": (1, 2, 4),
    "pad_token_id": (0, 2, 7, None),
    "rope_theta": (1e4, 1e6),
    "sliding_window": (4, 16, None),
    "type_vocab_size": (1, 2, 3),
}
"""What is drawn beside the type, where the type has it."""

_CHANGED = 0.3
"""How often one of them is drawn."""

_SWITCHED = 0.05
"""How often a setting that is true or false is the other one than by default."""

_RARE = 0.1
"""How often a prompt is excluded from pooling."""

_NO_SWITCHES = frozenset(
    {"is_encoder_decoder", "output_attentions", "output_hidden_states", "return_dict", "use_cache"}
)
"""Settings of what the model returns."""
