"""Skipped imports, each tested in its own process, because modules are imported once."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from embedding_runtime.worker.backends import light
from support import tiny_models as tiny

PROGRAM = """
import sys
from importlib.metadata import version
from pathlib import Path
from embedding_runtime.worker.backends import registry
from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelSpec
registry.load(BackendName.HUGGINGFACE, ModelSpec.read(Path(sys.argv[1])), allow_pickle=False)
import torch
loaded = {"PIL", "scipy", "sklearn", "torch._dynamo", "torch.distributed.tensor"} & set(sys.modules)
assert not loaded, loaded
import scipy
doubled = torch.compile(lambda x: 2 * x, backend="eager")
assert doubled(torch.ones(1)).item() == 2
assert torch.distributed.is_available()
"""


@pytest.mark.parametrize("shape", sorted(tiny.SHAPES))
def test_skipped_modules_are_not_loaded_and_can_be_imported_later(tmp_path: Path, shape: str) -> None:
    model = tiny.a_transformer(tmp_path, tiny.SHAPES[shape])
    argv = [sys.executable, "-c", PROGRAM, str(model)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_installed_torch_and_transformers_are_known() -> None:
    """After an upgrade: run this file and the correctness matrix with the new version listed, then keep it listed."""
    assert light.KNOWN["torch"] == ".".join(version("torch").split(".")[:2])
    assert light.KNOWN["transformers"] == version("transformers").split(".")[0]


def test_with_another_version_everything_is_imported_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(light.KNOWN, "torch", "9.9")
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    with light.light_imports():
        assert "torch._dynamo" not in sys.modules
