"""Makes the files of a look-alike, in the format that its repository on the hub has."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file

from support.chat_templates import WORDS
from support.lookalikes.table import Dense, Lookalike
from support.lookalikes.tokenizer_kinds import save_tokenizer
from support.remote_code.configuration_novel import NovelConfig
from support.remote_code.modeling_novel import NovelForSequenceClassification, NovelModel
from support.remote_code.modeling_tasks import TaskModel
from support.tiny_models import spread, with_code_beside, with_token_heads

__all__ = ["make"]

HIDDEN = 128

_BERT = {"hidden_size": HIDDEN, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
_DECODER = {**_BERT, "num_key_value_heads": 1, "head_dim": 64}
_GEMMA3 = {"sliding_window": 64, "layer_types": ["sliding_attention", "full_attention"], "query_pre_attn_scalar": 64}

_SIZES: Mapping[str, Mapping[str, Any]] = {
    "albert": {**_BERT, "embedding_size": 32},
    "distilbert": {"dim": HIDDEN, "hidden_dim": 256, "n_layers": 2, "n_heads": 2},
    "electra": {**_BERT, "embedding_size": 64},
    "deberta-v2": {
        **_BERT,
        "relative_attention": True,
        "position_buckets": 32,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "type_vocab_size": 0,
        "max_relative_positions": -1,
    },
    "t5": {"d_model": HIDDEN, "d_kv": 64, "d_ff": 256, "num_layers": 2, "num_heads": 2},
    "modernbert": {**_BERT, "num_hidden_layers": 4, "global_attn_every_n_layers": 3, "local_attention": 64},
    **dict.fromkeys(("qwen2", "qwen3", "mistral", "gemma", "gemma2", "llama"), _DECODER),
    "gemma3_text": {**_DECODER, **_GEMMA3, "use_bidirectional_attention": True},
}
"""By model_type."""

_POOLING = {
    "cls": "cls_token",
    "mean": "mean_tokens",
    "max": "max_tokens",
    "lasttoken": "lasttoken",
}


def make(directory: Path, row: Lookalike) -> Path:
    """Returns `directory`."""
    torch.manual_seed(3)
    directory.mkdir(parents=True)
    length = min(row.max_length, 8192)
    words = WORDS if row.template else ()
    tokenizer = save_tokenizer(directory, row.tokenizer, words, model_max_length=length, **row.tokenizer_config)
    if row.kind == "model2vec":
        _model2vec(directory, len(tokenizer))
    elif row.kind == "static":
        _static(directory, row.modules[0][0], len(tokenizer))
    else:
        _transformer(directory, row, tokenizer, length)
    if row.token_heads:
        with_token_heads(directory)
    if row.pooling is not None:
        _modules(directory, row, length)
    if row.score_tokens is not None:
        ids = tokenizer.get_vocab()
        _logit_score(directory, row, [None if token is None else ids[token] for token in row.score_tokens])
    if row.card:
        (directory / "README.md").write_text(f"---\npipeline_tag: {row.card}\n---\n")
    return directory


def _static(directory: Path, folder: str, words: int) -> None:
    """A vector a token, as sentence-transformers saves them."""
    (directory / folder).mkdir()
    (directory / "tokenizer.json").rename(directory / folder / "tokenizer.json")
    save_file({"embedding.weight": torch.randn(words, HIDDEN)}, directory / folder / "model.safetensors")


def _model2vec(directory: Path, words: int) -> None:
    """The same, as model2vec saves them."""
    save_file({"embeddings": torch.randn(words, HIDDEN)}, directory / "model.safetensors")
    said = {"model_type": "model2vec", "architectures": ["StaticModel"], "hidden_dim": HIDDEN, "normalize": True}
    (directory / "config.json").write_text(json.dumps(said))


def _transformer(directory: Path, row: Lookalike, tokenizer: Any, length: int) -> None:
    if row.code:
        _with_code(directory, row, tokenizer, length)
        return
    config = _config(row, tokenizer, length)
    model = getattr(transformers, row.architecture or row.head)(config)
    spread(model)
    model.save_pretrained(directory)
    said = {**row.says, **({"architectures": [row.head]} if row.head else {})}
    _change(directory / "config.json", **said)


def _with_code(directory: Path, row: Lookalike, tokenizer: Any, length: int) -> None:
    """The code is where the initializer puts it, and a module of the model's own in the model."""
    sizes: dict[str, Any] = {
        "vocab_size": len(tokenizer),
        "hidden_size": HIDDEN,
        "max_position_embeddings": length,
        "pad_token_id": tokenizer.pad_token_id,
        **({} if row.labels is None else {"num_labels": row.labels}),
    }
    config = NovelConfig(**sizes)
    model: Any
    auto, file = "AutoModel", "modeling_novel"
    if row.labels is not None:
        model, auto = NovelForSequenceClassification(config), f"AutoModelFor{_SCORES}"
    elif row.modules:
        model, file = TaskModel(config), "modeling_tasks"
    else:
        model = NovelModel(config)
    spread(model)
    model.save_pretrained(directory)
    named = {"AutoConfig": "configuration_novel.NovelConfig", auto: f"{file}.{type(model).__name__}"}
    _change(
        directory / "config.json",
        **row.says,
        auto_map={name: f"{row.code}--{module}" for name, module in named.items()},
    )
    with_code_beside(directory, CODE, row.code)
    if row.modules:
        # The reference, sentence-transformers 6, calls modules like jina's with two `cache_dir`s, which fails.
        code = (CODE / "custom_st.py").read_text()
        (directory / "custom_st.py").write_text(re.sub(r"(, )?cache_dir=cache_dir(, )?", ", ", code))


CODE = Path(__file__).parents[1] / "remote_code"

_SCORES = "SequenceClassification"


def _config(row: Lookalike, tokenizer: Any, length: int) -> Any:
    offset = 2 if row.positions_after_padding else 0
    sizes = {**_SIZES.get(row.kind, _BERT), "max_position_embeddings": length + offset, **row.config}
    if row.kind == "t5":
        del sizes["max_position_embeddings"]
    specials = {"pad_token_id": tokenizer.pad_token_id}
    for name, token in (("bos_token_id", "bos_token"), ("eos_token_id", "eos_token")):
        specials[name] = tokenizer.convert_tokens_to_ids(getattr(tokenizer, token) or tokenizer.pad_token)
    if row.labels is not None:
        sizes["num_labels"] = row.labels
    return transformers.AutoConfig.for_model(row.kind, vocab_size=len(tokenizer), **{**specials, **sizes})


def _modules(directory: Path, row: Lookalike, length: int) -> None:
    """As sentence-transformers before 5.4 wrote them: nearly every repository has these."""
    chain: list[tuple[str, str]] = [("", "Transformer"), ("1_Pooling", "Pooling")]
    flags = {f"pooling_mode_{key}": mode == row.pooling for mode, key in _POOLING.items()}
    _write(directory / "1_Pooling", word_embedding_dimension=HIDDEN, **flags, include_prompt=row.include_prompt)
    width = HIDDEN
    for place, step in enumerate(row.steps, start=2):
        if isinstance(step, Dense):
            path = f"{place}_Dense"
            _dense(directory / path, width, step)
            width = step.out
        else:
            path = f"{place}_{step}"
            (directory / path).mkdir()
        chain.append((path, "Dense" if isinstance(step, Dense) else step))
    types = row.modules or tuple((path, f"sentence_transformers.models.{name}") for path, name in chain)
    _list_modules(directory, types)
    body = {"max_seq_length": length, "do_lower_case": row.lower_case}
    (directory / "sentence_bert_config.json").write_text(json.dumps(body))
    versions = {"__version__": {"sentence_transformers": "2.2.2", "transformers": "4.37.0", "pytorch": "2.1.0"}}
    prompts = {"prompts": dict(row.prompts), "default_prompt_name": row.default_prompt} if row.prompts else {}
    kind: dict[str, str] = {}
    if any(path == _SPLADE for path, _ in types):
        kind = {"model_type": "SparseEncoder"}
        _write(directory / _SPLADE, pooling_strategy="max", activation_function="relu", word_embedding_dimension=None)
    (directory / "config_sentence_transformers.json").write_text(json.dumps({**versions, **prompts, **kind}))


_SPLADE = "1_SpladePooling"


def _logit_score(directory: Path, row: Lookalike, tokens: Sequence[int | None]) -> None:
    """A reranker that is a language model, as CrossEncoder saves it."""
    (directory / "chat_template.jinja").write_text(row.template)
    classes = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
    }
    _list_modules(directory, list(classes.items()))
    _write(directory / "1_LogitScore", true_token_id=tokens[0], false_token_id=tokens[1])
    logits = {"method": "forward", "method_output_name": "logits"}
    files = {
        "sentence_bert_config.json": {
            "transformer_task": "text-generation",
            "modality_config": {"text": logits, "message": {**logits, "format": "flat"}},
            "module_output_name": "causal_logits",
            **({"processing_kwargs": dict(row.processing)} if row.processing else {}),
        },
        "config_sentence_transformers.json": {
            "model_type": "CrossEncoder",
            "activation_fn": "torch.nn.modules.linear.Identity",
            "prompts": dict(row.prompts),
            "default_prompt_name": row.default_prompt,
        },
    }
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))


def _list_modules(directory: Path, modules: Sequence[tuple[str, str]]) -> None:
    """`modules`: paths and types."""
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(modules)]
    (directory / "modules.json").write_text(json.dumps(listed))


def _dense(directory: Path, width: int, step: Dense) -> None:
    activation = f"torch.nn.modules.{step.activation}"
    _write(directory, in_features=width, out_features=step.out, bias=step.bias, activation_function=activation)
    weights = {"linear.weight": torch.randn(step.out, width) * 0.15}
    if step.bias:
        weights["linear.bias"] = torch.randn(step.out) * 0.15
    save_file(weights, directory / "model.safetensors")


def _write(directory: Path, **config: Any) -> None:
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(config))


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
