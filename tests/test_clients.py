"""The clients that people have, each in its own words, on a real server: a file a client in tests/clients.

They need releases of openai and huggingface_hub below the project's own, and so an environment of their own, which
`make test` sets up; each file is a pytest run in it.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models import a_cross_encoder
from support.runtime_server import RuntimeServer

CLIENTS = Path(__file__).parent / "clients"
PYTHON = CLIENTS / ".venv" / "bin" / "python"


@pytest.fixture(scope="module")
def environ(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    cross_encoder = a_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))
    with RuntimeServer("fake") as embeddings, RuntimeServer("fake", model=cross_encoder) as rerank:
        urls = {"EMBEDDINGS_URL": embeddings.ready().url, "RERANK_URL": rerank.ready().url}
        yield {
            **os.environ,
            **urls,
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "0",  # else its client refuses even an address of ours
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # not from the internet
        }


@pytest.mark.parametrize("client", [path.stem.removeprefix("test_") for path in sorted(CLIENTS.glob("test_*.py"))])
def test_the_client_gets_on_with_us(environ: dict[str, str], client: str) -> None:
    assert PYTHON.exists(), "the clients' environment is not there: make tests/clients/.venv/synced"
    command = [str(PYTHON), "-m", "pytest", f"test_{client}.py"]
    done = subprocess.run(command, cwd=CLIENTS, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_tests_in_the_readmes_table_of_clients_exist() -> None:
    readme = (CLIENTS.parents[1] / "runtime" / "README.md").read_text()
    section = readme.partition("## Clients")[2].partition("\n## ")[0]
    named = re.findall(r"`([\w/]+\.(?:py|java))`", section)
    assert len(named) > 10
    assert [name for name in named if not (CLIENTS.parent / name).is_file()] == []
    assert {f"clients/{path.name}" for path in CLIENTS.glob("test_*.py")} <= set(named)
