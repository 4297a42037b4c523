"""The measurements of a run, as bench/results/*.json stores them: every round, every system, every cell."""

import math
import statistics
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, computed_field

from bench.workloads import CELLS, Cell

__all__ = ["Bound", "Health", "Machine", "Measured", "Round", "Run", "SystemRound", "percentile"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Measured(_Record):
    """One cell of one system in one round. Times are in seconds. The window begins after the warm-up."""

    workload: str
    batch: int
    clients: int
    seconds: float
    requests: int
    texts: int
    tokens: int
    p50: float | None
    """None if the window is too short: fewer than two answers per client."""
    p99: float | None
    cpu_seconds: float
    """CPU time of the whole process tree within the window."""
    others: float
    """CPU-seconds of all other processes on these cores within the window: the clients, and any unrelated work."""

    @property
    def cell(self) -> Cell:
        return Cell(self.workload, self.batch, self.clients)

    @property
    def texts_per_second(self) -> float | None:
        """None if no answer came within the window, which tells nothing about the speed."""
        return self.texts / self.seconds if self.texts else None

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.tokens else None

    @property
    def cpu_seconds_per_1000_texts(self) -> float | None:
        return 1000 * self.cpu_seconds / self.texts if self.texts else None


class Health(_Record):
    """Response times of /healthz, in seconds, under the load of the cell."""

    workload: str
    batch: int
    clients: int
    probes: int
    p50: float
    p99: float


class SystemRound(_Record):
    """One system in one round: started, measured, stopped."""

    failed: str | None = None
    """Why the turn ended: not installed, did not start, wrong vectors, an error under load. None without a failure."""
    ready: float | None = None
    """Seconds from exec to the first vector."""
    cosine: float | None = None
    """The lowest cosine of 64 vectors with those of sentence-transformers."""
    peak_memory: int | None = None
    """Bytes of the process tree, shared pages counted once: the maximum under load."""
    cells: tuple[Measured, ...] = ()
    health: tuple[Health, ...] = ()

    def find(self, cell: Cell) -> Measured | None:
        return next((each for each in self.cells if each.cell == cell), None)


class Bound(_Record):
    """The speed of the linear layers' matrix products alone, without bias, at the model's shapes."""

    gflops: dict[str, float]
    """GFLOP/s by library."""
    flop_per_token: int
    """Two per weight of the linear layers; attention is not counted."""
    tokens: int = 2048
    """Tokens in one matrix product."""

    @classmethod
    def middle(cls, several: Sequence["Bound"]) -> "Bound":
        """The median of each library."""
        gflops = {name: statistics.median(each.gflops[name] for each in several) for name in several[0].gflops}
        return several[0].model_copy(update={"gflops": gflops})

    @computed_field  # type: ignore[prop-decorator]  # mypy does not support it
    @property
    def tokens_per_second(self) -> float:
        return 1e9 * max(self.gflops.values()) / self.flop_per_token


class Round(_Record):
    """The systems in the order of their start, and the bound."""

    bound: Bound
    """The median of all measurements of the bound in this round."""
    bounds: dict[str, Bound] = {}
    """By cell: the bound measured directly before or after it."""
    systems: dict[str, SystemRound]

    def share(self, found: Measured | None) -> float | None:
        """The share of the bound that `found` reaches; None without a measurement."""
        if found is None or found.tokens_per_second is None:
            return None
        return found.tokens_per_second / self.bounds.get(str(found.cell), self.bound).tokens_per_second


class Machine(_Record):
    """The machine of the run."""

    cpu: str
    gpu: str | None = None
    cores: tuple[int, ...]
    """The cores that every process was pinned to, clients included."""
    memory_gib: float
    kernel: str
    versions: dict[str, str]


class Run(_Record):
    """One run."""

    started: str
    machine: Machine
    dtype: str = "float32"
    seconds: float
    tokens_a_text: dict[str, float]
    rounds: tuple[Round, ...]

    @property
    def systems(self) -> list[str]:
        """In the order of the first round."""
        return list(self.rounds[0].systems)

    @property
    def whole(self) -> bool:
        """Whether at least one system has every cell. The plots of other runs would have gaps."""
        found = {cell.cell for each in self.rounds for system in each.systems.values() for cell in system.cells}
        return found.issuperset(CELLS)

    def median(self, system: str, cell: Cell, value: Callable[[Measured], float | None]) -> float | None:
        """The median over the rounds that measured the cell; None if no round did."""
        found = [each.systems[system].find(cell) for each in self.rounds if system in each.systems]
        values = [value(each) for each in found if each is not None]
        return _median(values)

    def median_of(self, system: str, value: Callable[[SystemRound], float | None]) -> float | None:
        """Like `median`, for figures that a system has once per round."""
        return _median([value(each.systems[system]) for each in self.rounds if system in each.systems])

    def failure(self, system: str) -> str | None:
        """Why the system failed first; None if it never did."""
        failures = [each.systems[system].failed for each in self.rounds if system in each.systems]
        return next(filter(None, failures), None)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least `share` of them do not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
