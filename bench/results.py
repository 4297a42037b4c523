"""What was measured, as it is written to bench/results/*.json: every round, every system, every cell."""

import math
import statistics
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, computed_field

from bench.workloads import CELLS, Cell

__all__ = ["Bound", "Health", "Machine", "Measured", "Round", "Run", "SystemRound", "percentile"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class Measured(_Record):
    """One cell of one system in one round. Times in seconds; the window is what lies between warm-up and end."""

    workload: str
    batch: int
    clients: int
    seconds: float
    requests: int
    texts: int
    tokens: int
    p50: float | None
    """None where the window is too short to tell: fewer than two answers for each client."""
    p99: float | None
    cpu_seconds: float
    """Of the whole process tree, within the window."""
    others: float
    """CPU-seconds that everything else on these cores took meanwhile: clients, and what should not be there."""

    @property
    def cell(self) -> Cell:
        return Cell(self.workload, self.batch, self.clients)

    @property
    def texts_per_second(self) -> float | None:
        """None where no answer came within the window: the system may be slow, and may as well be about to answer."""
        return self.texts / self.seconds if self.texts else None

    @property
    def tokens_per_second(self) -> float | None:
        return self.tokens / self.seconds if self.tokens else None

    @property
    def cpu_seconds_per_1000_texts(self) -> float | None:
        return 1000 * self.cpu_seconds / self.texts if self.texts else None


class Health(_Record):
    """Answers of /healthz, in seconds, while the cell's load ran."""

    workload: str
    batch: int
    clients: int
    probes: int
    p50: float
    p99: float


class SystemRound(_Record):
    """One system in one round: started, measured, stopped."""

    failed: str | None = None
    """Why there is nothing more: not installed, did not start, wrong vectors, an error under load."""
    ready: float | None = None
    """Seconds from exec to the first vector."""
    cosine: float | None = None
    """The least, of 64 vectors with sentence-transformers' own."""
    peak_memory: int | None = None
    """Bytes of the process tree, a shared page counted once; the greatest found under a load."""
    cells: tuple[Measured, ...] = ()
    health: tuple[Health, ...] = ()

    def find(self, cell: Cell) -> Measured | None:
        return next((each for each in self.cells if each.cell == cell), None)


class Bound(_Record):
    """What the linear layers allow: matrix products alone, without bias, at the model's own shapes."""

    gflops: dict[str, float]
    """GFLOP/s by library."""
    flop_per_token: int
    """Twice the weights of the linear layers; attention counts as nothing."""
    tokens: int = 2048
    """That were multiplied at once."""

    @classmethod
    def middle(cls, several: Sequence["Bound"]) -> "Bound":
        """The median, library by library."""
        gflops = {name: statistics.median(each.gflops[name] for each in several) for name in several[0].gflops}
        return several[0].model_copy(update={"gflops": gflops})

    @computed_field  # type: ignore[prop-decorator]  # mypy does not follow it
    @property
    def tokens_per_second(self) -> float:
        return 1e9 * max(self.gflops.values()) / self.flop_per_token


class Round(_Record):
    """The systems in the order of their start, and the bound."""

    bound: Bound
    """The middle of all."""
    bounds: dict[str, Bound] = {}
    """Of each cell, measured beside it."""
    systems: dict[str, SystemRound]

    def share(self, found: Measured | None) -> float | None:
        """Of the bound; None where nothing was found."""
        if found is None or found.tokens_per_second is None:
            return None
        return found.tokens_per_second / self.bounds.get(str(found.cell), self.bound).tokens_per_second


class Machine(_Record):
    """Where it ran."""

    cpu: str
    gpu: str | None = None
    cores: tuple[int, ...]
    """Those that every process was pinned to, the clients' too."""
    memory_gib: float
    kernel: str
    versions: dict[str, str]


class Run(_Record):
    """All of one run."""

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
        """Whether every cell was measured, of one system at least: a picture of fewer would have gaps."""
        found = {cell.cell for each in self.rounds for system in each.systems.values() for cell in system.cells}
        return found.issuperset(CELLS)

    def median(self, system: str, cell: Cell, value: Callable[[Measured], float | None]) -> float | None:
        """Over the rounds that measured it; None when none did."""
        found = [each.systems[system].find(cell) for each in self.rounds if system in each.systems]
        values = [value(each) for each in found if each is not None]
        return _median(values)

    def median_of(self, system: str, value: Callable[[SystemRound], float | None]) -> float | None:
        """As `median`, of what a system has once a round."""
        return _median([value(each.systems[system]) for each in self.rounds if system in each.systems])

    def failure(self, system: str) -> str | None:
        """The first one, in words."""
        failures = [each.systems[system].failed for each in self.rounds if system in each.systems]
        return next(filter(None, failures), None)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not pass."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
