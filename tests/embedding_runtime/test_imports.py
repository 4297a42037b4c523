"""Modules that a process must not load: the operator no server, the frontend no model library."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import importlib, json, sys
importlib.import_module(sys.argv[1])
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("embedding_runtime.contract", {"fastapi", "uvicorn", "numpy", "tokenizers", "torch", "transformers", "vllm"}),
        ("embedding_runtime.__main__", {"fastapi", "uvicorn", "numpy", "tokenizers", "torch", "transformers", "vllm"}),
        (
            "embedding_runtime.frontend.server",
            {"torch", "transformers", "vllm", "sentence_transformers", "opentelemetry"},
        ),
        ("embedding_runtime.worker.main", {"fastapi", "uvicorn", "prometheus_client", "torch", "transformers", "vllm"}),
        (
            "embedding_runtime.worker.loader",
            {"fastapi", "uvicorn", "prometheus_client", "torch", "transformers", "vllm"},
        ),
        ("embedding_runtime.storage.__main__", {"huggingface_hub", "numpy", "obstore", "torch", "urllib3"}),
        ("embedding_runtime.storage.sources.hugging_face", {"huggingface_hub", "numpy", "obstore", "torch"}),
    ],
)
def test_importing_a_module_loads_nothing_of(module: str, unwanted: set[str]) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, module], capture_output=True, check=True)
    assert unwanted & set(json.loads(done.stdout)) == set()
