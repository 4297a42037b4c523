"""Models that vLLM cannot serve exactly are refused before vLLM is imported, with the backend that can."""

from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.worker.backends import registry, vllm_limits
from support.models import a_model

REMEDY = "use --backend=huggingface, or remove --backend"

PROMPT = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"pooling": {"pooling_mode": "max"}}, "pools by max"),
        ({"pooling": {"pooling_mode": "weightedmean"}}, "pools by weightedmean"),
        ({"pooling": {"pooling_mode": "mean_sqrt_len_tokens"}}, "pools by mean_sqrt_len_tokens"),
        ({"pooling": {"pooling_mode": ["cls", "mean"]}}, r"pools by cls \+ mean"),
        ({"pooling": {"include_prompt": False}, "defaults": PROMPT}, "excludes its prompt from pooling"),
        (
            {"pooling": {"pooling_mode": "max", "include_prompt": False}, "defaults": PROMPT},
            "pools by max .*, and excludes its prompt from pooling",
        ),
    ],
)
def test_it_is_refused_by_name(tmp_path: Path, says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=f"vLLM cannot serve .*{words}.*; {REMEDY}"):
        registry.load(BackendName.VLLM, ModelSpec.read(a_model(tmp_path, **says)), allow_pickle=False)


@pytest.mark.parametrize(
    "says",
    [
        {"pooling": {"pooling_mode": "cls"}},
        {"pooling": {"pooling_mode": "mean"}},
        {"pooling": {"pooling_mode": "lasttoken"}},
        {"defaults": PROMPT},
        {"pooling": {"include_prompt": False}},
        {"defaults": {"truncate_dim": 3}},
        {"modules": ["Transformer", "Pooling", "Dense"]},
    ],
)
def test_models_that_vllm_supports_are_accepted(tmp_path: Path, says: dict[str, Any]) -> None:
    vllm_limits.check(ModelSpec.read(a_model(tmp_path, **says)))


def test_a_cross_encoder_outside_of_the_matrix_is_refused(tmp_path: Path) -> None:
    config = {"architectures": ["ModernBertForSequenceClassification"], "id2label": {"0": "a"}}
    model = a_model(tmp_path, config=config)
    (model / "modules.json").unlink()
    with pytest.raises(ModelRefused, match=f"scores with ModernBertForSeq.*; {REMEDY}"):
        registry.load(BackendName.VLLM, ModelSpec.read(model), allow_pickle=False)
