"""Asks a backend for the vectors or scores of models, in a process of its own, as vLLM needs it."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["AskedBackend", "Question", "answers"]

Question = tuple[Path, Sequence[Any]]
"""The directory of a model, and texts or pairs."""

_PROGRAM = Path(__file__).with_name("backend_program.py")


class AskedBackend:
    """A process of `backend_program.py`, which computes one model after the other. A context manager."""

    def __init__(self, backend: str, log: Path) -> None:
        """`log` receives what the process writes to stderr."""
        self._backend, self._log = backend, log
        with log.open("a") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), backend],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.__exit__(kind, error, at)

    def ask(self, directory: Path, texts: Sequence[Any]) -> Mapping[str, Any]:
        """The answer of the program. A crash is a refusal."""
        given, heard = self._process.stdin, self._process.stdout
        if given is None or heard is None:
            raise AssertionError("both are pipes")
        given.write(json.dumps([str(directory), texts]) + "\n")
        given.flush()
        for line in heard:
            if line.startswith("{"):  # libraries print, too
                answer: dict[str, Any] = json.loads(line)
                return answer
        if (code := self._process.wait()) == 1:
            raise RuntimeError(self._log.read_text()[-2000:])
        return {"refused": f"{self._backend} failed: the process ended with {code}", "reusable": False}


def answers(backend: str, questions: Sequence[Question], log: Path) -> Iterator[Mapping[str, Any]]:
    """The answer to each question. A process is replaced when it is not reusable."""
    asked: AskedBackend | None = None
    with ExitStack() as stack:
        for directory, texts in questions:
            asked = asked or stack.enter_context(AskedBackend(backend, log))
            answer = asked.ask(directory, texts)
            yield answer
            if not answer["reusable"]:
                stack.close()
                asked = None
