"""Decides which models vLLM serves without a self test: those that the correctness matrix of the tests covers.

vLLM selects a class by `architectures` in config.json, or runs transformers' code through an adapter. transformers
selects by `model_type`. A model is covered if tests/embedding_runtime/worker/backends compares both classes, with its
pooling, with sentence-transformers, and config.json differs from the tested ones only in sizes and tested values. This
module does not import vLLM.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from embedding_runtime.model import ModelSpec, Pooling
from embedding_runtime.model.files import object_in

__all__ = ["COVERED", "Case", "case_of", "reason_for_self_test"]


class Case(NamedTuple):
    """A row of the matrix."""

    model_type: str
    architecture: str
    pooling: tuple[Pooling, ...] = ()
    """Empty for a cross-encoder."""


COVERED = frozenset(
    {
        Case("bert", "BertModel", (Pooling.CLS,)),
        Case("bert", "BertModel", (Pooling.MEAN,)),
        Case("bert", "BertForSequenceClassification"),
        Case("roberta", "RobertaModel", (Pooling.MEAN,)),
        Case("roberta", "RobertaForSequenceClassification"),
        Case("xlm-roberta", "XLMRobertaModel", (Pooling.CLS,)),
        Case("xlm-roberta", "XLMRobertaModel", (Pooling.MEAN,)),
        Case("xlm-roberta", "XLMRobertaForSequenceClassification"),
        Case("qwen3", "Qwen3ForCausalLM", (Pooling.LAST_TOKEN,)),
        Case("qwen3", "Qwen3Model", (Pooling.LAST_TOKEN,)),
    }
)


def reason_for_self_test(spec: ModelSpec) -> str | None:
    """Why a self test must compare vLLM with transformers for this model; None: the matrix covers it.

    Raises ModelRefused.
    """
    if spec.remote_code:
        return "the model comes with Python code"
    case = case_of(spec)
    if case not in COVERED:
        how = " + ".join(case.pooling) if case.pooling else "scores"
        return (
            f"{case.architecture or 'no architecture'} of type {case.model_type} with {how} is not in the test matrix"
        )
    compared = _COMPARED[case.model_type]
    if spec.padding not in (None, 1):
        return f"config.json sets pad_token_id to {spec.padding}, at which positions start"
    for name, value in _settings(object_in(spec.directory / "config.json")):
        if value not in compared.get(name, ()):
            return f"config.json sets {name} to {value!r}, which the test matrix does not cover"
    return None


def case_of(spec: ModelSpec) -> Case:
    """The case of a model in the matrix. Raises ModelRefused."""
    config = object_in(spec.directory / "config.json")
    architectures = " + ".join(map(str, config.get("architectures") or []))
    return Case(str(config.get("model_type")), architectures, spec.pooling)


_FREE = frozenset(
    {
        # what the model is called, and how it was made
        *("_attn_implementation_autoset", "_name_or_path", "architectures", "dtype", "finetuning_task"),
        *("gradient_checkpointing", "model_type", "output_past", "problem_type", "torch_dtype"),
        *("transformers_version", "use_cache"),
        # training
        *("attention_dropout", "attention_probs_dropout_prob", "classifier_dropout", "hidden_dropout_prob"),
        "initializer_range",
        # sizes
        *("head_dim", "hidden_size", "intermediate_size", "layer_norm_eps", "max_position_embeddings"),
        *(
            "max_window_layers",
            "num_attention_heads",
            "num_hidden_layers",
            "num_key_value_heads",
            "rms_norm_eps",
            "rope_theta",
        ),
        *("type_vocab_size", "vocab_size"),
        # the tokenizer's
        *("bos_token_id", "cls_token_id", "eos_token_id", "pad_token_id", "sep_token_id"),
        # read by sentence-transformers and `modelspec`, or for another use than embeddings and scores
        *("id2label", "is_matryoshka", "label2id", "matryoshka_dimensions", "num_labels"),
        *("sbert_ce_default_activation_function", "sentence_transformers", "tie_word_embeddings"),
        # of Google's BERT, read by nothing
        *("directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"),
        *("pooler_size_per_head", "pooler_type"),
    }
)
"""Keys of config.json that need no comparison: sizes, and values that neither library uses."""


_ENCODER: Mapping[str, tuple[object, ...]] = {
    "add_cross_attention": (False,),
    "hidden_act": ("gelu",),
    "is_decoder": (False,),
    "position_embedding_type": ("absolute",),
}

_COMPARED: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta"), _ENCODER),
    "qwen3": {
        "attention_bias": (False,),
        "hidden_act": ("silu",),
        "layer_types": ("full_attention",),
        "rope_parameters.rope_type": ("default",),
        "rope_scaling": (None,),
        "sliding_window": (None,),
        "use_sliding_window": (False,),
    },
}
"""Tested values of the other keys, including the defaults of missing keys."""


def _settings(config: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, object]]:
    """Flatten settings: nested names are joined with dots, and each item of a list is yielded."""
    for name, value in config.items():
        if name in _FREE:
            continue
        if isinstance(value, dict):
            yield from _settings(value, f"{within}{name}.")
        else:
            yield from ((within + name, each) for each in (value if isinstance(value, list) else [value]))
