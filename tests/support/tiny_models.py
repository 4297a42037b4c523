"""Tiny models of all architectures, with random weights and their own tokenizers, saved by sentence-transformers."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer, SparseEncoder
from sentence_transformers.base.modules import Dense, Normalize, Transformer
from sentence_transformers.sentence_transformer.modules import Pooling
from sentence_transformers.sparse_encoder.modules import SpladePooling
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PreTrainedTokenizerFast,
    T5EncoderModel,
)

from embedding_runtime.remote_code import repository_directory
from support.remote_code import custom_st
from support.remote_code.configuration_novel import NovelConfig
from support.remote_code.modeling_novel import NovelModel
from support.remote_code.modeling_tasks import TaskModel

__all__ = [
    "SHAPES",
    "WAYS",
    "Shape",
    "a_cross_encoder",
    "a_model_with_its_own_module",
    "a_model_with_remote_code",
    "a_saved_cross_encoder",
    "a_sparse_encoder",
    "a_tokenizer",
    "a_transformer",
    "as_old_format",
    "saved",
    "spread",
    "with_code_beside",
    "with_code_elsewhere",
    "with_token_heads",
]

MAX_LENGTH = 96

SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


@dataclass(frozen=True)
class Shape:
    """A kind of transformer, and what its texts stand between."""

    kind: str
    first: str | None
    last: str | None
    padding: str
    sizes: Mapping[str, Any] = field(default_factory=dict)
    types: bool = False
    """Whether the tokenizer gives token types."""

    @property
    def specials(self) -> list[str]:
        """In the order of their ids: RoBERTa's kin count positions from the padding's, 1."""
        return list(dict.fromkeys(token for token in (self.first, self.padding, self.last, "<unk>") if token))


_ROBERTA = {"max_position_embeddings": MAX_LENGTH + 2, "type_vocab_size": 1}
_QWEN = {"num_key_value_heads": 2, "head_dim": 8, "architectures": ["Qwen3ForCausalLM"]}
_T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
_MODERN = {"local_attention": 16, "global_attn_every_n_layers": 2, "num_hidden_layers": 3}

SHAPES: Mapping[str, Shape] = {
    "bert": Shape("bert", "[CLS]", "[SEP]", "[PAD]", types=True),
    "distilbert": Shape(
        "distilbert", "[CLS]", "[SEP]", "[PAD]", {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
    ),
    "mpnet": Shape("mpnet", "<s>", "</s>", "<pad>", {"max_position_embeddings": MAX_LENGTH + 2}),
    "roberta": Shape("roberta", "<s>", "</s>", "<pad>", _ROBERTA),
    "xlm-roberta": Shape("xlm-roberta", "<s>", "</s>", "<pad>", _ROBERTA),
    "modernbert": Shape("modernbert", "[CLS]", "[SEP]", "[PAD]", _MODERN),
    "t5": Shape("t5", None, "</s>", "<pad>", _T5),
    "qwen3": Shape("qwen3", None, "<|endoftext|>", "<|pad|>", _QWEN),
}


_ON_GPU = torch.cuda.is_available()

WAYS: Mapping[str, str] = {
    **dict.fromkeys(("bert", "xlm-roberta"), "fused, packed"),
    "mpnet": "padded" if _ON_GPU else "fused, packed",
    **dict.fromkeys(("distilbert", "qwen3", "modernbert"), "packed"),
    "t5": "padded",
}
"""The fastest way through each in float32 that keeps its vectors."""


def a_transformer(directory: Path, shape: Shape, *, make: Any = AutoModel.from_config, **sizes: Any) -> Path:
    """A plain transformers model, as other programs save it."""
    torch.manual_seed(3)
    made = a_tokenizer(shape)
    made.save_pretrained(directory)
    specials = {
        "pad_token_id": made.pad_token_id,
        "bos_token_id": made.convert_tokens_to_ids(shape.first or shape.padding),
        "eos_token_id": made.convert_tokens_to_ids(shape.last or shape.padding),
    }
    limits = {"vocab_size": len(made), "max_position_embeddings": MAX_LENGTH}
    config = AutoConfig.for_model(shape.kind, **{**SIZES, **limits, **specials, **shape.sizes, **sizes})
    of: Any = T5EncoderModel if shape.kind == "t5" else make
    model = of(config)
    spread(model)
    model.save_pretrained(directory)
    if "architectures" in shape.sizes:  # AutoModel writes its own
        _change(directory / "config.json", architectures=shape.sizes["architectures"])
    return directory


def a_model_with_remote_code(directory: Path, **config: Any) -> Path:
    """Of a kind that transformers has no code for: that of `support/remote_code` comes with it."""
    torch.manual_seed(3)
    made = a_tokenizer(SHAPES["distilbert"])
    made.save_pretrained(directory)
    NovelConfig.register_for_auto_class()  # type: ignore[no-untyped-call]
    NovelModel.register_for_auto_class("AutoModel")  # type: ignore[no-untyped-call]
    model = NovelModel(NovelConfig(vocab_size=len(made), **config))
    spread(model)
    model.save_pretrained(directory)
    return directory


def a_model_with_its_own_module(directory: Path, settings: Mapping[str, Any] | None = None, **config: Any) -> Path:
    """With a module in place of sentence-transformers' Transformer. `settings` are the module's arguments."""
    torch.manual_seed(3)
    made = a_tokenizer(SHAPES["distilbert"])
    made.save_pretrained(directory)
    NovelConfig.register_for_auto_class()  # type: ignore[no-untyped-call]
    TaskModel.register_for_auto_class("AutoModel")  # type: ignore[no-untyped-call]
    model = TaskModel(NovelConfig(vocab_size=len(made), **config))
    spread(model)
    model.save_pretrained(directory)
    shutil.copyfile(Path(custom_st.__file__), directory / "custom_st.py")
    names = {"": "custom_st.Transformer", "1_Pooling": f"{_OLD}.Pooling", "2_Normalize": f"{_OLD}.Normalize"}
    listed = [{"idx": n, "name": str(n), "path": path, "type": kind} for n, (path, kind) in enumerate(names.items())]
    pooling = {"word_embedding_dimension": model.config.hidden_size, "pooling_mode_mean_tokens": True}
    files = {
        "modules.json": listed,
        "sentence_bert_config.json": {"max_seq_length": MAX_LENGTH, **(settings or {})},
        "1_Pooling/config.json": pooling,
        "config_sentence_transformers.json": {"prompts": {"retrieval.query": "query: "}, "default_prompt_name": None},
    }
    (directory / "1_Pooling").mkdir()
    (directory / "2_Normalize").mkdir()
    for name, content in files.items():
        (directory / name).write_text(json.dumps(content))
    return directory


_OLD = "sentence_transformers.models"


def with_code_elsewhere(model: Path, code: Path, repository: str = "owner/code") -> Path:
    """Moves the code that `auto_map` names out of the model into a directory, that of a repository. Returns the model.

    The module in custom_st.py stays.
    """
    code.mkdir()
    for file in model.glob("*.py"):
        if file.name != "custom_st.py":
            shutil.move(file, code / file.name)
    config = model / "config.json"
    named = json.loads(config.read_text())["auto_map"]
    _change(config, auto_map={auto: f"{repository}--{name}" for auto, name in named.items()})
    return model


def with_code_beside(model: Path, code: Path, repository: str = "owner/code") -> Path:
    """Puts the code of a repository where the initializer puts it. Returns the model."""
    # transformers keeps the classes of a commit for the life of the process.
    place, commit = (
        repository_directory(model, repository),
        hashlib.sha1(bytes(model), usedforsecurity=False).hexdigest(),
    )
    shutil.copytree(code, place / "snapshots" / commit)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(commit)
    return model


def a_cross_encoder(
    directory: Path, shape: Shape, labels: int, says: Mapping[str, Any] | None = None, **sizes: Any
) -> Path:
    """With a head, as CrossEncoder before 5.4 saved it: `says` is what it wrote into config.json."""
    make = AutoModelForSequenceClassification.from_config
    a_transformer(directory, shape, make=make, num_labels=labels, **sizes)
    _change(directory / "config.json", **(says or {}))
    return directory


def a_saved_cross_encoder(directory: Path, plain: Path, **options: Any) -> Path:
    """As the newest release saves it. `options` are CrossEncoder's own."""
    CrossEncoder(str(plain), device="cpu", **options).save_pretrained(str(directory), create_model_card=False)
    return directory


def a_sparse_encoder(
    directory: Path, shape: Shape, *, strategy: str = "max", activation: str = "relu", **options: Any
) -> Path:
    """As sentence-transformers' newest release saves it. `options` are SparseEncoder's own."""
    plain = a_transformer(directory / "plain", shape, make=AutoModelForMaskedLM.from_config)
    body = Transformer(str(plain), transformer_task="fill-mask")
    model = SparseEncoder(modules=[body, SpladePooling(strategy, activation)], device="cpu", **options)
    model.save_pretrained(str(directory / "model"), create_model_card=False)
    return directory / "model"


def saved(
    directory: Path,
    transformer: Path,
    *,
    pooling: str | Sequence[str] = "mean",
    steps: Sequence[Dense | Normalize] = (),
    include_prompt: bool = True,
    **options: Any,
) -> Path:
    """The model as sentence-transformers' newest release saves it. `options` are SentenceTransformer's own."""
    body = Transformer(str(transformer))
    modes = pooling if isinstance(pooling, str) else tuple(pooling)
    head = Pooling(body.get_embedding_dimension(), modes, include_prompt=include_prompt)
    SentenceTransformer(modules=[body, head, *steps], device="cpu", **options).save_pretrained(
        str(directory), create_model_card=False
    )
    return directory


def as_old_format(directory: Path) -> Path:
    """The same model as releases before 5.4 wrote it."""
    path = directory / "modules.json"
    modules = json.loads(path.read_text())
    for module in modules:
        name = module["type"].rpartition(".")[2]
        module["type"] = f"sentence_transformers.models.{name}"
        config = directory / module["path"] / "config.json"
        if name == "Pooling":
            config.write_text(json.dumps(_old_pooling(json.loads(config.read_text()))))
        elif name == "SpladePooling":
            module["type"] = "sentence_transformers.sparse_encoder.models.SpladePooling"
            modules[0]["type"] = "sentence_transformers.sparse_encoder.models.MLMTransformer"
        elif name == "Dense":
            _change(config, module_input_name=None, module_output_name=None)
        elif name == "Normalize":
            config.unlink()
    path.write_text(json.dumps(modules))
    (directory / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": MAX_LENGTH, "do_lower_case": False})
    )
    if modules[-1]["type"].rpartition(".")[2] != "SpladePooling":
        _change(directory / "config_sentence_transformers.json", model_type=None)
    return directory


def _old_pooling(config: Mapping[str, Any]) -> dict[str, Any]:
    modes = config["pooling_mode"]
    given = {modes} if isinstance(modes, str) else set(modes)
    keys = {
        "cls": "cls_token",
        "mean": "mean_tokens",
        "max": "max_tokens",
        "mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
        "weightedmean": "weightedmean_tokens",
        "lasttoken": "lasttoken",
    }
    flags = {f"pooling_mode_{key}": mode in given for mode, key in keys.items()}
    size = config["embedding_dimension"]
    return {"word_embedding_dimension": size, **flags, "include_prompt": config["include_prompt"]}


def spread(model: torch.nn.Module) -> None:
    """As they come, all tokens of so small a model look alike."""
    for name, weight in model.named_parameters():
        if "norm" not in name.lower():
            torch.nn.init.normal_(weight, std=0.15)


def _change(path: Path, **values: Any) -> None:
    """None takes a key out."""
    config = {**json.loads(path.read_text()), **values}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def a_tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    """Byte-level, so that every text has tokens; trained on a line."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=shape.specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the quick brown fox jumps over the lazy dog, query: passage: " * 4], trainer)
    around = " ".join(f"{token}:0" if token != "$A" else "$A:0" for token in (shape.first, "$A", shape.last) if token)
    between = [shape.last] * (2 if "roberta" in shape.kind else 1)
    pair = [(shape.first, 0), ("$A", 0), *((token, 0) for token in between), ("$B", 1), (shape.last, 1)]
    named = [(token, tokenizer.token_to_id(token)) for token in (shape.first, shape.last) if token]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, pair=" ".join(f"{token}:{kind}" for token, kind in pair if token), special_tokens=named
    )
    made: PreTrainedTokenizerFast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=MAX_LENGTH,
        pad_token=shape.padding,
        unk_token="<unk>",
        bos_token=shape.first,
        eos_token=shape.last,
        model_input_names=["input_ids", *(["token_type_ids"] if shape.types else []), "attention_mask"],
    )
    return made


def with_token_heads(directory: Path) -> Path:
    """Adds the layers of BGE-M3 for tokens, in files of their kind. Returns the directory."""
    torch.manual_seed(5)
    hidden = json.loads((directory / "config.json").read_text())["hidden_size"]
    for name, outputs in (("sparse", 1), ("colbert", hidden)):
        layer = torch.nn.Linear(hidden, outputs)
        spread(layer)
        torch.save(layer.state_dict(), directory / f"{name}_linear.pt")
    return directory
