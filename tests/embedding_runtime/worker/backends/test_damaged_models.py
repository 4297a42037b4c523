"""Damaged models that only a library can judge: the refusal names the file or directory, and what the library says."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.worker.backends import registry

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")


def refusal(directory: Path) -> str:
    with pytest.raises(ModelRefused) as refused:
        registry.load(BackendName.HUGGINGFACE, ModelSpec.read(directory), allow_pickle=False)
    return str(refused.value)


@pytest.mark.parametrize(
    ("file", "field", "value", "named"),
    [
        ("config.json", "hidden_act", {}, "the tokenizer in {} (code that comes with a model needs "),
        ("config.json", "hidden_act", "x", "{}: KeyError: 'x'"),
        ("config.json", "num_attention_heads", 0, "{}: ZeroDivisionError"),
        ("tokenizer_config.json", "unk_token", 5, "the tokenizer in {} (code that comes with a model needs "),
        ("tokenizer_config.json", "model_input_names", 5, "the tokenizer in {} (code that comes with a model needs "),
    ],
)
def test_what_transformers_raises_for_a_file_is_a_refusal(
    tmp_path: Path, file: str, field: str, value: Any, named: str
) -> None:
    path = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]) / file
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    assert f"transformers cannot load {named.format(tmp_path)}" in refusal(tmp_path)


@pytest.mark.parametrize("template", ["single", "pair"])
def test_a_tokenizer_whose_template_has_an_unknown_token_is_refused(tmp_path: Path, template: str) -> None:
    path = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]) / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"][template][0]["SpecialToken"]["id"] = "[NONE]"
    path.write_text(json.dumps(content))
    with pytest.raises(ModelRefused, match=f"{path} is not a valid tokenizer: no entry found for key"):
        TextTokenizer(ModelSpec.read(tmp_path))
    assert str(tmp_path) in refusal(tmp_path)


def test_truncated_weights_are_refused_by_the_directory(tmp_path: Path) -> None:
    file = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    assert f"transformers cannot load {tmp_path}: SafetensorError: " in refusal(tmp_path)


def test_weights_of_another_size_are_named_with_both_shapes(tmp_path: Path) -> None:
    path = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "intermediate_size": 48}))
    said = refusal(tmp_path)
    assert f"the weights in {tmp_path} do not match its config.json: encoder.layer.0.intermediate.dense.bias" in said
    assert "has the shape [64], but should have [48] (6 weights in all): " in said


@pytest.mark.parametrize("sizes", [{"in_features": 32, "out_features": 10**9}, {"out_features": 10**30}])
def test_a_dense_layer_of_another_size_is_refused_before_it_takes_memory(tmp_path: Path, sizes: dict[str, int]) -> None:
    body = tiny.a_transformer(tmp_path / "body", tiny.SHAPES["bert"])
    model = tiny.saved(tmp_path / "model", body, steps=[tiny.Dense(32, 16)])
    path = next(model.glob("*_Dense")) / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **sizes}))
    assert f"the weights in {path.parent} do not match its config.json: " in refusal(model)
