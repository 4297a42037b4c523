import json
import struct
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import Dtype
from embedding_runtime.modelspec import ModelRefused, ModelSpec, Pooling
from support.models import a_model, packaged_minilm

NEW_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def test_the_packaged_minilm_is_read_as_it_was_saved() -> None:
    assert ModelSpec.read(packaged_minilm()) == ModelSpec(
        directory=packaged_minilm(),
        pooling=Pooling.MEAN,
        normalize=True,
        dimensions=384,
        max_length=256,
        vocabulary=30522,
        lower_case=False,
        dtype=Dtype.FLOAT32,
    )


@pytest.mark.parametrize(
    ("says", "field", "value"),
    [
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, "pooling", Pooling.CLS),
        ({"pooling": {"pooling_mode_lasttoken": True}}, "pooling", Pooling.LAST_TOKEN),
        ({"pooling": {"pooling_mode": "cls"}, "types": NEW_TYPES}, "pooling", Pooling.CLS),
        ({"pooling": {"pooling_mode": ["lasttoken"]}, "types": NEW_TYPES}, "pooling", Pooling.LAST_TOKEN),
        ({"pooling": {"pooling_mode": "mean", "pooling_mode_cls_token": True}}, "pooling", Pooling.MEAN),
        ({"pooling": {}}, "pooling", Pooling.MEAN),
        ({"pooling": {"embedding_dimension": 7}}, "dimensions", 7),
        ({"pooling": {}}, "dimensions", 8),
        ({"modules": ["Transformer", "Pooling"]}, "normalize", False),
        ({"transformer": {"max_seq_length": None}}, "max_length", 128),
        ({"transformer": {"max_seq_length": None}, "tokenizer": {"model_max_length": 10**30}}, "max_length", 256),
        ({"transformer": {"max_seq_length": 512}}, "max_length", 256),
        ({"config": {"max_position_embeddings": -1}}, "max_length", 64),
        ({"transformer": {"do_lower_case": True}}, "lower_case", True),
        ({"config": {"dtype": None, "torch_dtype": "bfloat16"}}, "dtype", Dtype.BFLOAT16),
        ({"config": {"dtype": "float16"}}, "dtype", Dtype.FLOAT16),
        ({"config": {"dtype": None}}, "dtype", Dtype.FLOAT32),
        ({"defaults": {"prompts": {"query": "q: "}, "default_prompt_name": None}}, "normalize", True),
    ],
)
def test_the_files_decide(tmp_path: Path, says: dict[str, Any], field: str, value: object) -> None:
    assert getattr(ModelSpec.read(a_model(tmp_path, **says)), field) == value


def test_weights_tell_their_type_where_the_config_does_not(tmp_path: Path) -> None:
    header = json.dumps({"__metadata__": {}, "ids": {"dtype": "I64"}, "w": {"dtype": "F16"}}).encode()
    model = a_model(tmp_path, config={"dtype": None})
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert ModelSpec.read(model).dtype == Dtype.FLOAT16


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"modules": ["Transformer", "Pooling", "Dense", "Normalize"]}, "Dense"),
        ({"modules": ["Transformer"]}, "only Transformer"),
        ({"types": {"Pooling": "their_code.Pooling"}}, "their_code.Pooling"),
        ({"defaults": {"default_prompt_name": "query"}}, "prompt 'query'"),
        ({"pooling": {"pooling_mode_max_tokens": True}}, "pools by max"),
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}}, "cls + mean"),
        ({"pooling": {"pooling_mode": ["mean", "cls"]}}, "mean + cls"),
        ({"transformer": {"model_args": {"a": 1}, "transformer_task": "retrieval"}}, "model_args, transformer_task"),
        ({"config": {"dtype": "float8_e4m3fn"}}, "float8_e4m3fn: set --dtype"),
        ({"config": {"vocab_size": None}}, "config.json has no vocab_size"),
        (
            {
                "transformer": {"max_seq_length": None},
                "tokenizer": {"model_max_length": 10**30},
                "config": {"max_position_embeddings": None},
            },
            "does not say how long",
        ),
    ],
)
def test_what_cannot_be_served_exactly_is_refused_by_name(tmp_path: Path, says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=words.replace("+", r"\+")):
        ModelSpec.read(a_model(tmp_path, **says))


@pytest.mark.parametrize("name", ["modules.json", "config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[1]", "3"])
def test_a_broken_file_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    path = a_model(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ModelRefused, match=path.name):
        ModelSpec.read(tmp_path)


def test_no_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="not a directory"):
        ModelSpec.read(tmp_path / "nothing")


def test_flags_make_inputs_shorter_never_longer(tmp_path: Path) -> None:
    spec = ModelSpec.read(a_model(tmp_path))
    assert spec.limited(max_length=None, dtype=Dtype.AUTO) == spec
    assert spec.limited(max_length=10, dtype=Dtype.AUTO).max_length == 10
    assert spec.limited(max_length=None, dtype=Dtype.BFLOAT16).dtype == Dtype.BFLOAT16
    with pytest.raises(ModelRefused, match=r"--max_length=65 .* 64 tokens"):
        spec.limited(max_length=65, dtype=Dtype.AUTO)
