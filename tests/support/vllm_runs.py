"""Runs several models with vLLM in a separate process, one after the other."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import support.backend_vectors

__all__ = ["VllmRuns"]


class VllmRuns:
    """A run of `backend_vectors` over models, by name; it goes on while its first answers are read."""

    def __init__(self, models: Mapping[str, Path], texts: Sequence[Any], log: Path) -> None:
        self.models = models
        self._answers: dict[str, Any] = {}
        program = [sys.executable, str(support.backend_vectors.__file__), "vllm", *map(str, models.values())]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self._process.stdin is not None
        with self._process.stdin as asked:
            json.dump(texts, asked)

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.__exit__(kind, error, at)

    def answer(self, name: str) -> Any:
        """They come in the order of the models."""
        assert self._process.stdout is not None
        for line in iter(self._process.stdout.readline, ""):
            if line.startswith("{"):  # libraries print, too
                self._answers[list(self.models)[len(self._answers)]] = json.loads(line)
            if name in self._answers:
                break
        return self._answers[name]
