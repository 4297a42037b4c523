"""Model files that could execute code: pickled weights. See test_remote_code.py for Python code."""

import json
from pathlib import Path

import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.worker.backends import pickles, registry
from support.models import a_model, packaged_minilm
from support.runtime_server import RuntimeServer


def a_model_with(directory: Path, *files: str) -> ModelSpec:
    a_model(directory, modules=["Transformer", "Pooling", "Dense"])
    for name in files:
        (directory / name).touch()
    return ModelSpec.read(directory)


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (["pytorch_model.bin"], "pytorch_model.bin"),
        (["pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"], "pytorch_model-00001-of-00002.bin"),
        (["consolidated.pt"], "consolidated.pt"),
        (["other.safetensors", "pytorch_model.bin"], "pytorch_model.bin"),
        (["2_Dense/pytorch_model.bin"], "2_Dense/pytorch_model.bin"),
    ],
)
def test_pickled_weights_are_refused_naming_the_file_and_the_flag(tmp_path: Path, files: list[str], named: str) -> None:
    with pytest.raises(ModelRefused, match=f"{tmp_path}/{named} is a pickle.*--allow_pickle=true"):
        pickles.check(a_model_with(tmp_path, *files))


@pytest.mark.parametrize(
    "files",
    [
        [],
        ["model.safetensors"],
        ["model.safetensors", "pytorch_model.bin", "training_args.bin"],
        ["model-00001-of-00002.safetensors", "model.safetensors.index.json", "2_Dense/model.safetensors"],
    ],
)
def test_safetensors_are_loaded_whatever_other_files_exist(tmp_path: Path, files: list[str]) -> None:
    (tmp_path / "2_Dense").mkdir()
    weights = a_model(tmp_path, modules=["Transformer", "Pooling", "Dense"])
    for name in files:
        (weights / name).touch()
    pickles.check(a_model_with(tmp_path))


@pytest.mark.parametrize("backend", ["huggingface", "vllm"])
def test_a_server_with_pickled_weights_ends_before_it_loads_anything(tmp_path: Path, backend: str) -> None:
    a_model_with(tmp_path)
    (tmp_path / "modules.json").unlink()
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "tokenizer.json").symlink_to(packaged_minilm() / "tokenizer.json")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "hidden_size": 8}))
    with RuntimeServer(backend, model=tmp_path) as server:
        assert server.process.wait(240) == 1
        assert f"{tmp_path}/pytorch_model.bin is a pickle" in server.log.splitlines()[-1]


@pytest.mark.model
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_pickled_weights_are_loaded_with_the_flag(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    tiny = pytest.importorskip("support.tiny_models")
    safetensors = pytest.importorskip("safetensors.torch")
    spec = ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]))
    torch.save(safetensors.load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelRefused, match="is a pickle"):
        registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    assert "transformers" in registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=True).detail
