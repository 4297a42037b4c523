"""Asks a backend for the vectors or scores of models, in processes of its own, as vLLM needs them."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["Question", "answers"]

Question = tuple[Path, Sequence[Any]]
"""The directory of a model, and texts or pairs."""

_PROGRAM = Path(__file__).with_name("answers.py")


def answers(backend: str, questions: Sequence[Question], log: Path) -> Iterator[Mapping[str, Any]]:
    """The answer to each question, see `answers.py`. `log` receives what the processes write to stderr.

    A process that crashes takes one model with it; another one goes on with the rest.
    """
    left = list(questions)
    while left:
        with log.open("a") as errors:
            process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), backend],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        given, heard = process.stdin, process.stdout
        if given is None or heard is None:
            raise AssertionError("both are pipes")
        with process:
            with given:
                json.dump([[str(directory), texts] for directory, texts in left], given)
            for line in heard:
                if line.startswith("{"):  # libraries print, too
                    yield json.loads(line)
                    left = left[1:]
        if process.returncode == 1:
            raise RuntimeError(log.read_text()[-2000:])
        if left and process.returncode:
            yield {"refused": f"{backend} failed: the process ended with {process.returncode}"}
            left = left[1:]
