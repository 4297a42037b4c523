"""The decision from config.json: a class that the matrix covers, or a self test at startup."""

import json
import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.model import ModelSpec, Pooling, Scores
from embedding_runtime.worker.backends import vllm_coverage
from embedding_runtime.worker.backends.vllm_limits import SEQ_POOLING
from support.models import packaged_minilm
from support.services import MINILM

auto = pytest.importorskip("transformers.models.auto.modeling_auto")
configurations = pytest.importorskip("transformers.models.auto.configuration_auto")

TABLES = (
    auto.MODEL_MAPPING_NAMES,
    auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)


def architectures_of(model_type: str) -> list[str]:
    named = (table.get(model_type, ()) for table in TABLES)
    return [name for names in named for name in ([names] if isinstance(names, str) else names)]


def a_spec(directory: Path, config: dict[str, Any], **changes: Any) -> ModelSpec:
    (directory / "config.json").write_text(json.dumps(config))
    return replace(MINILM, directory=directory, **changes)


def test_only_model_types_of_the_matrix_need_no_self_test(tmp_path: Path) -> None:
    found = set()
    for model_type in configurations.CONFIG_MAPPING_NAMES:
        for architecture, pooling in product(architectures_of(model_type), (*SEQ_POOLING, ())):
            if architecture.endswith("ForSequenceClassification") == bool(pooling):
                continue
            config = {"model_type": model_type, "architectures": [architecture]}
            scores = None if pooling else Scores(1, "torch.nn.Identity", architecture)
            if vllm_coverage.reason_for_self_test(a_spec(tmp_path, config, pooling=pooling, scores=scores)) is None:
                found.add(vllm_coverage.Case(model_type, architecture, pooling))
    assert found == vllm_coverage.COVERED


def test_the_packaged_model_needs_no_self_test() -> None:
    assert vllm_coverage.reason_for_self_test(MINILM) is None


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (
            {"model_type": "camembert", "architectures": ["CamembertModel"]},
            "CamembertModel of type camembert with mean",
        ),
        ({"model_type": "electra"}, "BertModel of type electra with mean"),
        ({"architectures": ["RobertaModel"]}, "RobertaModel of type bert with mean"),
        ({"architectures": ["BertModel", "BertForMaskedLM"]}, r"BertModel \+ BertForMaskedLM of type bert"),
        ({"architectures": None}, "no architecture of type bert"),
        ({"hidden_act": "relu"}, "hidden_act to 'relu'"),
        ({"is_decoder": True}, "is_decoder to True"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type to 'relative_key'"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config.quant_method to 'fp8'"),
        ({"auto_map": {"AutoModel": "code.Model"}}, "auto_map.AutoModel to 'code.Model'"),
        ({"a_key_of_tomorrow": 1}, "a_key_of_tomorrow to 1"),
    ],
)
def test_uncovered_models_need_a_self_test(tmp_path: Path, says: dict[str, Any], reason: str) -> None:
    config = json.loads((packaged_minilm() / "config.json").read_text())
    assert re.search(reason, vllm_coverage.reason_for_self_test(a_spec(tmp_path, {**config, **says})) or "")


QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "rope_theta": 1e6, "rope_scaling": None}


@pytest.mark.parametrize(
    ("says", "covered"),
    [
        ({}, True),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, False),
        ({"use_sliding_window": False, "sliding_window": None, "max_window_layers": 28}, True),
        ({"use_sliding_window": True, "sliding_window": 512}, False),
        ({"layer_types": ["full_attention", "full_attention"]}, True),
        ({"layer_types": ["full_attention", "sliding_attention"]}, False),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}, True),
        ({"rope_parameters": {"rope_theta": 1e6, "rope_type": "dynamic"}}, False),
        ({"is_causal": False}, False),
    ],
)
def test_a_decoder_is_covered_with_default_positions_and_full_attention(
    tmp_path: Path, says: dict[str, Any], *, covered: bool
) -> None:
    spec = a_spec(tmp_path, {**QWEN3, **says}, pooling=(Pooling.LAST_TOKEN,))
    assert (vllm_coverage.reason_for_self_test(spec) is None) == covered


@pytest.mark.parametrize(("padding", "covered"), [(1, True), (0, False)])
def test_positions_of_the_roberta_family_are_covered_after_the_default_padding(
    tmp_path: Path, padding: int, *, covered: bool
) -> None:
    spec = a_spec(tmp_path, {"model_type": "roberta", "architectures": ["RobertaModel"]}, padding=padding)
    assert (vllm_coverage.reason_for_self_test(spec) is None) == covered
