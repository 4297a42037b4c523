"""A running system that is checked and measured cell by cell. Servers and `encode` have the same interface."""

import http.client
import json
import socket
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from bench import load
from bench.health import probe
from bench.processes import Tree
from bench.results import Health, Measured, percentile
from bench.systems import ENCODE, OFFLINE, Server, server
from bench.workloads import MODEL, Cell, Workload

__all__ = ["CHECKED", "TURN_ERRORS", "Inputs", "Session", "SystemFailed", "Vectors", "session"]

Vectors = npt.NDArray[np.float32]

CHECKED = 64
"""How many of the first mixed texts have their vectors compared."""

START_AND_REPORT = 2
"""Seconds that clients need at most in addition to warm-up and window."""

IDLE_WITHIN = 120
"""Seconds that a server gets to finish the requests of stopped clients."""


class SystemFailed(Exception):
    """A system cannot be measured. The message, which the table shows, says why."""


TURN_ERRORS = (SystemFailed, load.BadAnswers, OSError, http.client.HTTPException)
"""Errors that end the turn of one system, but not the run."""


@dataclass(frozen=True)
class Inputs:
    """The model and workloads, the same for every system, and the duration of each cell."""

    model_dir: Path
    directory: Path
    """For request bodies and logs; deleted after the run."""
    workloads: Mapping[str, Workload]
    seconds: float
    warm_up: float
    dtype: str
    """torch's name of the weights' data type."""


class Session(Protocol):
    """One system, started and ready."""

    tree: Tree
    ready: float
    """Seconds from exec to the first vector."""

    def vectors(self) -> Vectors:
        """The vectors of the first CHECKED mixed texts. Raises one of TURN_ERRORS."""

    def measure(self, cell: Cell) -> Measured | None:
        """Measures a cell; None if this system does not have it. Raises one of TURN_ERRORS."""

    def measure_beside(self, cell: Cell, others: Cell) -> tuple[Measured, Measured] | None:
        """Measures both cells at once; `others` starts first and ends last. None for `encode`. Raises TURN_ERRORS."""

    def settle(self) -> None:
        """Waits until requests of stopped clients are finished, so that they do not slow down the next cell."""

    def health(self, cell: Cell) -> Health | None:
        """Probes /healthz under the load of the cell. None for systems of other projects."""


@contextmanager
def session(system: str, inputs: Inputs) -> Iterator[Session]:
    """A context with the started, ready system; it is stopped at the end. Raises SystemFailed."""
    log = inputs.directory / f"{system}.log"
    if system == ENCODE:
        workloads = inputs.directory / "workloads.json"
        workloads.write_text(json.dumps({each.name: each.texts for each in inputs.workloads.values()}))
        argv = [sys.executable, "-m", "bench.encoder", str(inputs.model_dir), str(workloads), inputs.dtype]
        with Tree(argv, OFFLINE, log, piped=True) as tree:
            yield _Encoder(inputs, tree)
        return
    found = server(system)
    if not found.program.exists():
        raise SystemFailed(f"not installed: {found.program} does not exist")
    port = _free_port()
    with Tree(found.argv(inputs.model_dir, port, inputs.dtype), {**OFFLINE, **found.environment}, log) as tree:
        yield _Served(found, inputs, tree, port)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class _Encoder:
    """`encode` of sentence-transformers, in a process (bench.encoder) that takes commands on stdin."""

    def __init__(self, inputs: Inputs, tree: Tree) -> None:
        self.tree, self._inputs = tree, inputs
        self._answer()
        self.ready = time.monotonic() - tree.started

    def vectors(self) -> Vectors:
        return np.asarray(self._call("reference")["vectors"], dtype=np.float32)

    def measure(self, cell: Cell) -> Measured | None:
        """Only cells with one client: batches of 32, or one text at a time."""
        if cell.clients != 1:
            return None
        reply = self._call(f"{cell.workload} {cell.batch} {self._inputs.seconds}")
        self.tree.note_memory()
        tokens = self._inputs.workloads[cell.workload].tokens
        took = reply["took"]
        return Measured(
            workload=cell.workload,
            batch=cell.batch,
            clients=1,
            seconds=reply["seconds"],
            requests=len(reply["texts"]),
            texts=len(reply["texts"]),
            tokens=sum(tokens[text] for text in reply["texts"]),
            p50=percentile(took, 0.5) if took else None,
            p99=percentile(took, 0.99) if took else None,
            cpu_seconds=reply["cpu"],
            others=reply["others"],
        )

    def measure_beside(self, cell: Cell, others: Cell) -> None:  # noqa: ARG002 not a server
        return None

    def settle(self) -> None:
        """Does nothing: `encode` has no requests left."""

    def health(self, cell: Cell) -> None:  # noqa: ARG002 no /healthz
        return None

    def _call(self, line: str) -> dict[str, Any]:
        assert self.tree.process.stdin
        self.tree.process.stdin.write(f"{line}\n".encode())
        self.tree.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.tree.process.stdout
        line = self.tree.process.stdout.readline()
        if not line:
            raise SystemFailed(f"the process ended: {self.tree.last_words()}")
        reply: dict[str, Any] = json.loads(line)
        return reply


class _Served:
    """A server, called over HTTP by the benchmark and its clients."""

    def __init__(self, server: Server, inputs: Inputs, tree: Tree, port: int) -> None:
        self.tree, self._server, self._inputs, self._port = tree, server, inputs, port
        self._wait()
        self.ready = time.monotonic() - tree.started

    def vectors(self) -> Vectors:
        """Requests half of the vectors with 32 texts in one request, and half with one text per request."""
        texts = self._inputs.workloads["mixed"].texts[:CHECKED]
        rows = self._embed(texts[:32])
        for text in texts[32:]:
            rows += self._embed([text])
        return np.asarray(rows, dtype=np.float32)

    def measure(self, cell: Cell) -> Measured | None:
        answers, window = self._load(cell, self._inputs.seconds * cell.duration, time.sleep)
        return load.measured(cell, answers, window, self._body_tokens(cell))

    def measure_beside(self, cell: Cell, others: Cell) -> tuple[Measured, Measured] | None:
        found: list[Measured | None] = []
        enough = self._inputs.seconds * cell.duration + self._inputs.warm_up + START_AND_REPORT
        answers, window = self._load(others, enough, lambda _: found.append(self.measure(cell)))
        (beside,) = found
        assert beside is not None
        return beside, load.measured(others, answers, window, self._body_tokens(others))

    def settle(self) -> None:
        self.tree.wait_until_idle(IDLE_WITHIN)

    def health(self, cell: Cell) -> Health | None:
        path = self._server.health
        if path is None:
            return None
        took: list[float] = []
        self._load(cell, self._inputs.seconds, lambda seconds: took.extend(probe(self._port, path, seconds)))
        return Health(
            workload=cell.workload,
            batch=cell.batch,
            clients=cell.clients,
            probes=len(took),
            p50=percentile(took, 0.5),
            p99=percentile(took, 0.99),
        )

    def _load(self, cell: Cell, seconds: float, meanwhile: load.Meanwhile) -> tuple[list[load.Answer], load.Window]:
        bodies = self._inputs.workloads[cell.workload].write(self._inputs.directory, cell.batch)
        url = f"http://127.0.0.1:{self._port}{self._server.path}"
        clients = load.Clients(url, bodies, self._inputs.warm_up)
        return load.under_load(clients, cell, seconds, self.tree, meanwhile)

    def _body_tokens(self, cell: Cell) -> list[int]:
        return self._inputs.workloads[cell.workload].body_tokens(cell.batch)

    def _wait(self) -> None:
        """Waits for the first vector."""
        while time.monotonic() - self.tree.started < self._server.ready_within:
            if self.tree.process.poll() is not None:
                raise SystemFailed(
                    f"ended with exit status {self.tree.process.returncode} during start: {self.tree.last_words()}"
                )
            try:
                self._embed(["ready?"])
            except (OSError, http.client.HTTPException, SystemFailed):
                time.sleep(0.05)
            else:
                return
        raise SystemFailed(f"not ready within {self._server.ready_within:.0f} s: {self.tree.last_words()}")

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            body = json.dumps({"model": MODEL, "input": texts})
            connection.request("POST", self._server.path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise SystemFailed(f"answered {response.status}: {answer[:200].decode(errors='replace')}")
        try:
            return [row["embedding"] for row in json.loads(answer)["data"]]
        except (ValueError, KeyError, TypeError) as error:
            raise SystemFailed(f"the answer has no vectors: {answer[:200].decode(errors='replace')}") from error
