import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import ModelSpec, space
from embedding_runtime.model.scores import Scores
from support.models import a_model, packaged_minilm


@pytest.fixture
def model(tmp_path: Path) -> Path:
    made = a_model(tmp_path / "model")
    (made / "tokenizer.json").write_text("{}")
    (made / "model.safetensors").write_bytes(bytes(range(256)) * 40_000)  # 10 MB: sampled, not read whole
    return made


def digest(directory: Path) -> str:
    return space.digest(ModelSpec.read(directory))


def test_the_same_model_elsewhere_has_the_same_space(model: Path, tmp_path: Path) -> None:
    assert digest(Path(shutil.copytree(model, tmp_path / "elsewhere"))) == digest(model)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("tokenizer.json", '{"other": 1}'),
        ("model.safetensors", "shorter"),
        ("1_Pooling/config.json", json.dumps({"word_embedding_dimension": 8, "pooling_mode_cls_token": True})),
        ("config_sentence_transformers.json", json.dumps({"prompts": {"query": "q: "}})),
        ("config_sentence_transformers.json", json.dumps({"truncate_dim": 4})),
        ("modules.json", None),
    ],
)
def test_another_model_has_another_space(model: Path, file: str, content: str | None) -> None:
    before = digest(model)
    if content is None:
        (model / file).unlink()
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps({**config, "hidden_size": 8}))
    else:
        (model / file).write_text(content)
    assert digest(model) != before


def test_changed_weights_have_another_space(model: Path) -> None:
    before, weights = digest(model), model / "model.safetensors"
    weights.write_bytes(bytes(reversed(weights.read_bytes())))
    assert digest(model) != before


def test_code_of_the_models_own_is_part_of_its_space_where_it_is_run(model: Path) -> None:
    (model / "modeling.py").write_text("VERSION = 1")
    spec = ModelSpec.read(model)
    before = space.digest(spec), space.digest(replace(spec, remote_code=True))
    (model / "modeling.py").write_text("VERSION = 2")
    after = space.digest(spec), space.digest(replace(spec, remote_code=True))
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_the_packaged_minilm_has_a_space_of_its_own() -> None:
    assert digest(packaged_minilm()).startswith("sha256:")


def test_each_precision_has_a_space_of_its_own(model: Path) -> None:
    spec = ModelSpec.read(model)
    reduced: list[dict[str, Any]] = [
        {"dtype": Dtype.BFLOAT16},
        {"dtype": Dtype.FLOAT16},
        {"quantize": Quantization.INT8},
    ]
    assert len({space.digest(replace(spec, **each)) for each in ({}, *reduced)}) == 4


def test_the_names_of_a_cross_encoders_labels_are_no_part_of_its_space(tmp_path: Path) -> None:
    made = a_model(tmp_path / "model")
    (made / "tokenizer.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"weights")
    spec = ModelSpec.read(made)
    scores = Scores(
        labels=1, activation="torch.nn.modules.activation.Sigmoid", architecture="BertForSequenceClassification"
    )
    assert "names" not in str(scores)
    plain, named = (space.digest(replace(spec, scores=each)) for each in (scores, replace(scores, names=("good",))))
    assert plain == named
