"""Loading a model lightly: each in a process of its own, because modules are loaded once."""

import subprocess
import sys
from pathlib import Path

import pytest

from support import tiny_models as tiny

PROGRAM = """
import sys
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
def test_what_is_left_out_is_not_loaded_and_can_be_later(tmp_path: Path, shape: str) -> None:
    model = tiny.a_transformer(tmp_path, tiny.SHAPES[shape])
    argv = [sys.executable, "-c", PROGRAM, str(model)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
