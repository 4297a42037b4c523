"""A system that runs: ready, checked, measured cell by cell. A server behind HTTP and `encode` look alike here."""

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

__all__ = ["CHECKED", "REFUSED", "Inputs", "Session", "SystemFailed", "Vectors", "session"]

Vectors = npt.NDArray[np.float32]

CHECKED = 64
"""Texts whose vectors are compared, the first of mixed."""

START_AND_REPORT = 2
"""Seconds that clients take beside their warm-up and window, at most."""

IDLE_WITHIN = 120
"""Seconds that a server gets to finish what clients left behind."""


class SystemFailed(Exception):
    """It cannot be measured; the message says why, for the table."""


REFUSED = (SystemFailed, load.BadAnswers, OSError, http.client.HTTPException)
"""What ends one system's turn, but not the run."""


@dataclass(frozen=True)
class Inputs:
    """What every system is given, and how long each cell takes."""

    model_dir: Path
    directory: Path
    """For bodies and logs; goes with the run."""
    workloads: Mapping[str, Workload]
    seconds: float
    warm_up: float
    dtype: str
    """Of the weights, as torch calls it."""


class Session(Protocol):
    """One system, started and ready."""

    tree: Tree
    ready: float
    """Seconds from exec to the first vector."""

    def vectors(self) -> Vectors:
        """Of the first CHECKED mixed texts. Raises one of REFUSED."""

    def measure(self, cell: Cell) -> Measured | None:
        """None for a cell that this system does not have. Raises one of REFUSED."""

    def measure_beside(self, cell: Cell, others: Cell) -> tuple[Measured, Measured] | None:
        """Both cells at once; `others` begins first and ends last. None without a server. Raises one of REFUSED."""

    def settle(self) -> None:
        """Waits until it has finished what clients left behind: the next one measured would pay for it."""

    def health(self, cell: Cell) -> Health | None:
        """While the cell's load runs. None for a system whose /healthz is not ours."""


@contextmanager
def session(system: str, inputs: Inputs) -> Iterator[Session]:
    """Starts it, waits until it is ready, and stops it. Raises SystemFailed."""
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
        raise SystemFailed(f"not installed: there is no {found.program.name}")
    port = _free_port()
    with Tree(found.argv(inputs.model_dir, port, inputs.dtype), {**OFFLINE, **found.environment}, log) as tree:
        yield _Served(found, inputs, tree, port)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


class _Encoder:
    """sentence-transformers' `encode`, asked through its process's stdin (bench.encoder)."""

    def __init__(self, inputs: Inputs, tree: Tree) -> None:
        self.tree, self._inputs = tree, inputs
        self._answer()
        self.ready = time.monotonic() - tree.started

    def vectors(self) -> Vectors:
        return np.asarray(self._ask("reference")["vectors"], dtype=np.float32)

    def measure(self, cell: Cell) -> Measured | None:
        """One client only: it is no server. Batches of 32, or one text at a time."""
        if cell.clients != 1:
            return None
        said = self._ask(f"{cell.workload} {cell.batch} {self._inputs.seconds}")
        self.tree.note_memory()
        tokens = self._inputs.workloads[cell.workload].tokens
        took = said["took"]
        return Measured(
            workload=cell.workload,
            batch=cell.batch,
            clients=1,
            seconds=said["seconds"],
            requests=len(said["texts"]),
            texts=len(said["texts"]),
            tokens=sum(tokens[text] for text in said["texts"]),
            p50=percentile(took, 0.5) if took else None,
            p99=percentile(took, 0.99) if took else None,
            cpu_seconds=said["cpu"],
            others=said["others"],
        )

    def measure_beside(self, cell: Cell, others: Cell) -> None:  # noqa: ARG002 it is no server
        return None

    def settle(self) -> None:
        """It leaves nothing."""

    def health(self, cell: Cell) -> None:  # noqa: ARG002 it has none
        return None

    def _ask(self, line: str) -> dict[str, Any]:
        assert self.tree.process.stdin
        self.tree.process.stdin.write(f"{line}\n".encode())
        self.tree.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.tree.process.stdout
        line = self.tree.process.stdout.readline()
        if not line:
            raise SystemFailed(f"ended: {self.tree.last_words()}")
        said: dict[str, Any] = json.loads(line)
        return said


class _Served:
    """A server, asked over HTTP: once by us, then by the clients."""

    def __init__(self, server: Server, inputs: Inputs, tree: Tree, port: int) -> None:
        self.tree, self._server, self._inputs, self._port = tree, server, inputs, port
        self._wait()
        self.ready = time.monotonic() - tree.started

    def vectors(self) -> Vectors:
        """Half of them 32 in one request, half of them alone."""
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
        """Until the first vector."""
        while time.monotonic() - self.tree.started < self._server.ready_within:
            if self.tree.process.poll() is not None:
                raise SystemFailed(f"ended with {self.tree.process.returncode} at start: {self.tree.last_words()}")
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
            raise SystemFailed(f"answered no vectors: {answer[:200].decode(errors='replace')}") from error
