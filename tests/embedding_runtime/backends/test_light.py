"""Importing transformers lightly: in a process of its own, because modules are loaded once."""

import subprocess
import sys

PROGRAM = """
import sys
from embedding_runtime.backends.light import light_imports
with light_imports():
    import embedding_runtime.backends.huggingface
import torch
loaded = {"PIL", "scipy", "sklearn", "sympy", "torch._dynamo", "torch.distributed.tensor"} & set(sys.modules)
assert not loaded, loaded
import scipy
doubled = torch.compile(lambda x: 2 * x, backend="eager")
assert doubled(torch.ones(1)).item() == 2
assert torch.distributed.is_available()
"""


def test_what_is_left_out_is_not_loaded_and_can_be_later() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
