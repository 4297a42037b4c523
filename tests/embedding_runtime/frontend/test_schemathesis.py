"""schemathesis against a real server: every path matches the OpenAPI document, for generated requests."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.models import a_cross_encoder
from support.runtime_server import RuntimeServer

SUPPORT = Path(__file__).parents[2]

OPTIONS = [
    "--seed=1",
    "--phases=examples,coverage,fuzzing",
    # What a model takes (lengths, sizes, prompts, ids) stands in no schema: such a request gets its 400.
    "--exclude-checks=positive_data_acceptance",
    "--continue-on-failure",
    "--no-color",
]


ALIASES = "^/(openai/.*|embeddings|models.*|v1/rerank|v1/score|invocations)$"
"""Paths with the handlers of others. /invocations takes the requests of nine."""

BRIEFLY = ("--max-examples=3", f"--exclude-path-regex={ALIASES}")
THOROUGHLY = ("--max-examples=10",)
EXTENTS = pytest.mark.parametrize(
    "options", [pytest.param(BRIEFLY, id="briefly"), pytest.param(THOROUGHLY, id="thoroughly", marks=pytest.mark.slow)]
)


def findings(server: RuntimeServer, where: Path, *options: str) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("st")
    return subprocess.run(
        [program, "run", f"{server.url}/openapi.json", *OPTIONS, *options],
        cwd=where,  # it leaves files there
        env={**os.environ, "SCHEMATHESIS_HOOKS": "support.schemathesis_hooks", "PYTHONPATH": str(SUPPORT)},
        capture_output=True,
        text=True,
        check=False,
    )


def summary(said: str) -> str:
    return said[said.find("= SUMMARY") :]


@EXTENTS
def test_schemathesis_finds_nothing(
    fake_server: RuntimeServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    done = findings(fake_server, tmp_path, *options)
    with capsys.disabled():
        print("\n" + summary(done.stdout))
    assert done.returncode == 0, done.stdout
    assert "Traceback" not in fake_server.log


@EXTENTS
def test_schemathesis_finds_nothing_in_the_scores_of_a_cross_encoder(tmp_path: Path, options: tuple[str, ...]) -> None:
    with RuntimeServer("fake", model=a_cross_encoder(tmp_path)) as server:
        done = findings(server.ready(), tmp_path, *options, "--include-path-regex=/(rerank|score|infer)$")
        assert done.returncode == 0, done.stdout
        assert "Traceback" not in server.log
