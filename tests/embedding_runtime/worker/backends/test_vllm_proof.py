"""vLLM's self test for models outside of the matrix, and its check for missing weights."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from support.asking import AskedBackend

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")
pytest.importorskip("embedding_runtime.worker.backends.huggingface")

TEXTS = ["a", "", "the quick brown fox", "jumps over the lazy dog " * 8, *(f"query {n} " * n for n in range(1, 6))]

HEADS_OF_32 = {"hidden_size": 128}  # vLLM's attention on CPUs wants them
QUERY = "encoder.layer.1.attention.self.query.weight"


def a_model(directory: Path, kind: str, *, like: str = "xlm-roberta", **sizes: Any) -> Path:
    """Of a kind that has the tokenizer and the sizes of another."""
    shape = replace(tiny.SHAPES[like], kind=kind)
    model: Path = tiny.a_transformer(directory, shape, **{**HEADS_OF_32, **sizes})
    return model


def changed(model: Path, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Path:
    weights = load_file(model / "model.safetensors")
    save_file(dict(change(weights)), model / "model.safetensors", metadata={"format": "pt"})
    return model


def without(model: Path, name: str) -> Path:
    return changed(model, lambda weights: {key: weights[key] for key in weights.keys() - {name}})


def with_another_safetensors_beside_it(model: Path) -> Path:
    weights = load_file(model / "model.safetensors")
    save_file({name: weight + 1 for name, weight in weights.items()}, model / "zz.safetensors")
    return model


def with_gamma_and_beta(model: Path) -> Path:
    """Layer norms as TensorFlow named them, and transformers still reads them."""

    def old(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    return changed(
        model, lambda weights: {old(name): weight + 0.5 * ("Norm" in name) for name, weight in weights.items()}
    )


def as_architecture(model: Path, name: str) -> Path:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "architectures": [name]}))
    return model


def a_bert(directory: Path, **sizes: Any) -> Path:
    return a_model(directory, "bert", like="bert", **sizes)


def an_embeddinggemma(directory: Path) -> Path:
    """A decoder that looks both ways, with two Dense layers after the pooling."""
    layers = {"layer_types": ["sliding_attention", "full_attention"], "sliding_window": 16}
    sizes = {"num_key_value_heads": 1, "head_dim": 32, "use_bidirectional_attention": True, **layers}
    shape = replace(tiny.SHAPES["qwen3"], kind="gemma3_text", sizes=sizes)
    plain = tiny.a_transformer(directory / "plain", shape, **HEADS_OF_32)
    steps = [tiny.Dense(*sizes, bias=False, activation_function=None) for sizes in ((128, 256), (256, 128))]
    model: Path = tiny.saved(directory / "saved", plain, steps=[*steps, tiny.Normalize()])
    return model


def a_qwen3(directory: Path) -> Path:
    return a_model(directory, "qwen3", like="qwen3", head_dim=32)


Build = Callable[[Path], Path]

NUMBERS = r"the cosine similarity to transformers is 0\.\d+, and 0\.9999990 is required; use --backend=huggingface"

LACKING: Mapping[str, tuple[Build, str]] = {
    "bert": (a_bert, "encoder.layer.1.output.dense.weight"),
    "bert, a part of a fused layer": (a_bert, "encoder.layer.1.attention.self.query.weight"),
    "bert, a norm": (a_bert, "embeddings.LayerNorm.weight"),
    "qwen3": (a_qwen3, "layers.0.mlp.down_proj.weight"),
    "distilbert, through the adapter": (
        lambda directory: a_model(directory, "distilbert", like="distilbert", dim=128, hidden_dim=128),
        "transformer.layer.0.ffn.lin2.weight",
    ),
}
"""A weight that is not in the file."""

EXACT: Mapping[str, Build] = {
    "a covered class with another activation": lambda directory: a_bert(directory, hidden_act="relu"),
    "another file of weights beside it": lambda directory: with_another_safetensors_beside_it(a_bert(directory)),
    "embeddinggemma": an_embeddinggemma,
    "gamma and beta": lambda directory: with_gamma_and_beta(a_bert(directory)),
    "a class of another kind": lambda directory: as_architecture(a_model(directory, "xlm-roberta"), "RobertaModel"),
    "electra, through the adapter": lambda directory: a_model(directory, "electra", like="bert", embedding_size=128),
}

WRONG: Mapping[str, Build] = {
    "camembert": lambda directory: a_model(directory, "camembert"),
    "data2vec-text": lambda directory: a_model(directory, "data2vec-text"),
}
"""Through the adapter, in other positions than the model's own. The adapter changes transformers' classes for the whole
process: no other model of these types is computed in it.
"""


@pytest.mark.parametrize("name", EXACT)
def test_models_that_match_transformers_are_served(vllm: AskedBackend, tmp_path: Path, name: str) -> None:
    model = EXACT[name](tmp_path / "model")
    reference = tiny.SentenceTransformer(str(model), device="cpu")
    wanted = np.concatenate([reference.encode([text], show_progress_bar=False) for text in TEXTS])
    answer = vllm.ask(model, TEXTS)
    assert "refused" not in answer, answer
    for mates in ("alone", "together"):
        assert np.abs(np.array(answer[mates]) - wanted).max() < 1e-4


@pytest.mark.parametrize("name", WRONG)
def test_models_that_differ_are_refused_with_both_numbers(vllm: AskedBackend, tmp_path: Path, name: str) -> None:
    answer = vllm.ask(WRONG[name](tmp_path / "model"), TEXTS)
    assert re.search(f"^vLLM's results differ from .*{NUMBERS}", answer["refused"])


@pytest.mark.parametrize("name", LACKING)
def test_a_missing_weight_is_reported_by_name(vllm: AskedBackend, tmp_path: Path, name: str) -> None:
    build, weight = LACKING[name]
    answer = vllm.ask(without(build(tmp_path / "model"), weight), TEXTS)
    assert re.search(rf"^the weights in .* lack {re.escape(weight)} \(1 in all\)", answer["refused"]), answer
