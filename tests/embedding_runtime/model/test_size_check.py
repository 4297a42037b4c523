"""Numbers in config.json that the weights cannot have: the model is refused before anything is built."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.model import ModelRefused
from embedding_runtime.model.size_check import check_sizes
from support.models import packaged_minilm
from support.runtime_server import RuntimeServer

HUGE = 10**30


def a_model_with(directory: Path, **config: Any) -> Path:
    model = shutil.copytree(packaged_minilm(), directory / "model")
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    return path


@pytest.mark.parametrize(
    ("field", "value", "has"),
    [
        ("num_hidden_layers", HUGE, "are of 6 layers"),
        ("num_hidden_layers", 65, "are of 6 layers"),
        ("n_layer", HUGE, "are of 6 layers"),
        ("hidden_size", HUGE, "have no dimension above 30522"),
        ("intermediate_size", 30523, "have no dimension above 30522"),
        ("vocab_size", HUGE, "have no dimension above 30522"),
        ("num_attention_heads", HUGE, "have no dimension above 30522"),
        ("num_labels", 10**6, "have no dimension above 30522"),
        ("max_position_embeddings", HUGE, "have no dimension above 30522, and more than 1048576 positions"),
    ],
)
def test_a_number_beyond_the_weights_is_refused_with_its_field(
    tmp_path: Path, field: str, value: int, has: str
) -> None:
    path = a_model_with(tmp_path, **{field: value})
    with pytest.raises(ModelRefused) as refused:
        check_sizes(path.parent)
    assert f"{path} has {field} {value}, but the weights beside it {has}" in str(refused.value)


def test_numbers_in_lists_and_parts_are_compared_too(tmp_path: Path) -> None:
    path = a_model_with(tmp_path, text_config={"block_sizes": [4, HUGE]})
    with pytest.raises(ModelRefused, match=f"{path} has block_sizes {HUGE}, but"):
        check_sizes(path.parent)


@pytest.mark.parametrize("config", [{"num_hidden_layers": 24}, {"max_position_embeddings": 131072}, {"seed": HUGE}])
def test_numbers_that_need_no_weights_are_accepted(tmp_path: Path, config: dict[str, int]) -> None:
    check_sizes(a_model_with(tmp_path, **config).parent)


def test_weights_in_several_files_count_together(tmp_path: Path) -> None:
    path = a_model_with(tmp_path, num_hidden_layers=HUGE)
    weights = path.with_name("model.safetensors")
    header = json.dumps(
        {"encoder.layer.31.weight": {"dtype": "F32", "shape": [99_999], "data_offsets": [0, 0]}}
    ).encode()
    second = path.with_name("model-00002-of-00002.safetensors")
    second.write_bytes(len(header).to_bytes(8, "little") + header)
    weights.rename(path.with_name("model-00001-of-00002.safetensors"))
    with pytest.raises(ModelRefused, match="are of 32 layers"):
        check_sizes(path.parent)


def test_a_server_with_endless_layers_ends_with_the_reason(tmp_path: Path) -> None:
    path = a_model_with(tmp_path, num_hidden_layers=HUGE)
    with RuntimeServer("huggingface", model=path.parent) as server:
        assert server.process.wait(240) == 1
        assert f"{path} has num_hidden_layers {HUGE}" in server.log.splitlines()[-1]


def test_a_server_with_endless_labels_ends_with_the_reason(tmp_path: Path) -> None:
    config = {"architectures": ["BertForSequenceClassification"], "id2label": None, "num_labels": HUGE}
    path = a_model_with(tmp_path, **config)
    path.with_name("modules.json").unlink()
    with RuntimeServer("huggingface", model=path.parent) as server:
        assert server.process.wait(240) == 1
        assert f"{path} has num_labels {HUGE}" in server.log.splitlines()[-1]
