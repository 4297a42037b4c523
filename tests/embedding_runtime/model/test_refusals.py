"""Models that the server refuses: each message has the file and field, the reason, and what helps."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedding_runtime.contract import ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from support.models import a_model

ST = "sentence_transformers"
TRUST = (
    "--trust_remote_code=true (of a service: spec.model.trustRemoteCode, which an administrator allows with the "
    "chart's value policy.trustRemoteCode)"
)


def refusal(directory: Path, *flags: str) -> str:
    with pytest.raises(ModelRefused) as said:
        ModelSpec.from_args(ServeArgs.from_argv(["--model_name=it", f"--model_dir={directory}", *flags]))
    return str(said.value)


def a_model_of(directory: Path, *types: str, **says: Any) -> Path:
    """With these modules."""
    model = a_model(directory, **says)
    listed = [{"path": f"{place}" if place else "", "type": kind} for place, kind in enumerate(types)]
    (model / "modules.json").write_text(json.dumps(listed))
    return model


@pytest.mark.parametrize(
    ("types", "reason", "remedy"),
    [
        (
            [f"{ST}.models.StaticEmbedding", f"{ST}.models.Dense"],
            "after a static embedding, this server computes nothing but Normalize",
            "use sentence-transformers in the client",
        ),
        (
            [f"{ST}.sparse_encoder.models.SparseStaticEmbedding"],
            "it is a sparse encoder of another kind than SPLADE",
            "use sentence-transformers' SparseEncoder",
        ),
        (
            [f"{ST}.models.Transformer", f"{ST}.cross_encoder.modules.LogitScore"],
            "next token",
            "CrossEncoder, as Transformer + LogitScore",
        ),
        ([f"{ST}.models.WordEmbeddings", f"{ST}.models.Pooling"], "no transformer", "serve a model with a transformer"),
        ([f"{ST}.models.CLIPModel"], "it also embeds images", "serve a model that embeds texts"),
        ([f"{ST}.models.Router", f"{ST}.models.Pooling"], "by different modules", "save the chain that you need"),
        ([f"{ST}.models.Transformer", "mine.Pooling"], "only the first module may be", "use a model without it"),
        ([f"{ST}.models.Transformer", f"{ST}.models.CNN", f"{ST}.models.Pooling"], "no transformer", "serve a model"),
        ([f"{ST}.models.Transformer", f"{ST}.models.LayerNorm"], "its other modules", "use a model without them"),
        ([], "has no modules", "use a model without them"),
    ],
)
def test_modules(tmp_path: Path, types: list[str], reason: str, remedy: str) -> None:
    said = refusal(a_model_of(tmp_path, *types))
    assert said.startswith(f"{tmp_path}/modules.json has ")
    assert reason in said
    assert remedy in said


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("config_sentence_transformers.json", {"model_type": "MultiVectorEncoder"}, ["ColBERT", "or serve an"]),
        ("config_sentence_transformers.json", {"keep_in_fp32_modules": ["a"]}, ["remove it", "--dtype=float32"]),
        ("sentence_bert_config.json", {"query_expansion": {"n": 1}}, ["query_expansion", "use a model without it"]),
        ("1_Pooling/config.json", {"pooling_mode": "attention"}, ["pools by attention", "use another model"]),
    ],
)
def test_settings(tmp_path: Path, file: str, content: Mapping[str, Any], words: list[str]) -> None:
    path = a_model(tmp_path) / file
    before = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**before, **content}))
    said = refusal(tmp_path)
    assert str(path) in said
    assert [each for each in words if each not in said] == []


def test_a_static_model_without_a_table(tmp_path: Path) -> None:
    (a_model(tmp_path, config={"model_type": "model2vec"}) / "modules.json").unlink()
    assert "has no model.safetensors, and a static model is read from that file only: save the model" in refusal(
        tmp_path
    )
    save_file({"other": np.zeros((2, 2))}, tmp_path / "model.safetensors")
    assert "has no table of token vectors (embedding.weight or embeddings): use another model" in refusal(tmp_path)


def test_a_module_of_the_models_own_code_needs_the_flag_the_field_and_the_policy(tmp_path: Path) -> None:
    types = ["custom_st.Transformer", f"{ST}.models.Pooling", f"{ST}.models.Normalize"]
    said = refusal(a_model_of(tmp_path, *types, config={"auto_map": {"AutoModel": "owner/code--modeling.Model"}}))
    assert said.startswith(f"{tmp_path}/modules.json has type 'custom_st.Transformer': a module of this kind needs")
    assert "from the repository owner/code," in said
    assert TRUST in said
    assert "hf download owner/code --include '*.py' --cache-dir DIR/remote_code" in said


@pytest.mark.parametrize(
    "name",
    [
        *("../modeling.Model", "owner/code--../modeling.Model", "/tmp/modeling.Model", "os"),
        "owner/code---modeling.Model",  # of owner/code- here, and of owner/code for transformers
    ],
)
def test_code_outside_of_the_model_is_refused(tmp_path: Path, name: str) -> None:
    said = refusal(a_model(tmp_path, config={"auto_map": {"AutoModel": name}}), "--trust_remote_code")
    assert said.startswith(f"{tmp_path}/config.json has auto_map '{name}', which must be module.Class or owner/")
