"""Fields with values of a wrong type: a model is refused with the file and the field, or is read."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from support.models import a_cross_encoder, a_model, a_sparse_encoder

VALUES: Sequence[Any] = (None, "x", -1, 1.5, ["x"], {"x": 1})


def a_new_model(directory: Path) -> Path:
    defaults = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    return a_model(directory, pooling={"pooling_mode": "mean"}, config={"model_type": "roberta"}, defaults=defaults)


def refusal(directory: Path) -> str:
    """Empty for a model that is read."""
    try:
        ModelSpec.from_args(ServeArgs.from_argv(["--model_name=it", f"--model_dir={directory}"]))
    except ModelRefused as refused:
        return str(refused)
    return ""


def harmed(given: Any, value: Any) -> Iterator[Any]:
    """The content with this value in place of each part."""
    yield value
    for key, each in given.items() if isinstance(given, dict) else enumerate(given if isinstance(given, list) else ()):
        for other in harmed(each, value):
            changed = given.copy()
            changed[key] = other
            yield changed


@pytest.mark.parametrize("make", [a_model, a_new_model, a_cross_encoder, a_sparse_encoder])
def test_no_value_of_any_field_is_an_error_other_than_a_refusal(make: Callable[[Path], Path], tmp_path: Path) -> None:
    model = make(tmp_path)
    for file in [path for path in model.rglob("*.json") if path.name != "tokenizer.json"]:
        content = file.read_text()
        file.unlink()  # a link to a file of another model
        for value in VALUES:
            for changed in harmed(json.loads(content), value):
                file.write_text(json.dumps(changed))
                assert "\n" not in refusal(model)
        file.write_text(content)


@pytest.mark.parametrize(
    ("file", "field", "value"),
    [
        ("config.json", "architectures", 1.5),
        ("config.json", "architectures", [{}]),
        ("config.json", "model_type", ["x"]),
        ("config.json", "dtype", {"x": 1}),
        ("config.json", "pad_token_id", []),
        ("config.json", "vocab_size", True),
        ("1_Pooling/config.json", "pooling_mode", 3),
        ("config_sentence_transformers.json", "model_type", []),
        ("config_sentence_transformers.json", "default_prompt_name", ["x"]),
        ("config_sentence_transformers.json", "prompts", {"query": 5}),
    ],
)
def test_a_value_of_a_wrong_type_is_named_with_its_file_and_field(
    tmp_path: Path, file: str, field: str, value: Any
) -> None:
    path = a_new_model(tmp_path) / file
    path.write_text(json.dumps({**json.loads(path.read_text()), field: value}))
    said = refusal(tmp_path)
    assert said.startswith(f"{path} ")
    assert field in said


def test_the_path_of_a_module_must_be_a_text(tmp_path: Path) -> None:
    path = a_new_model(tmp_path) / "modules.json"
    path.write_text(json.dumps([{**module, "path": 1} for module in json.loads(path.read_text())]))
    assert refusal(tmp_path) == f"{path} must be a list of modules with type and path"


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    path = a_new_model(tmp_path) / "config.json"
    path.write_text('{"x": ' + "[" * 100_000)
    assert refusal(tmp_path).startswith(f"{path} cannot be read: ")


@pytest.mark.parametrize("header", [b"[]", b"5", b'{"weight": 5}', b"[" * 100_000])
def test_weights_with_another_header_are_refused(tmp_path: Path, header: bytes) -> None:
    file = a_new_model(tmp_path) / "model.safetensors"
    config = tmp_path / "config.json"
    given = json.loads(config.read_text())
    config.write_text(json.dumps({key: value for key, value in given.items() if "dtype" not in key}))
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    assert refusal(tmp_path).startswith(f"{file} is not a safetensors file")
