"""The file of ranges, and the check of a run against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, RootModel

from bench.operator.results import Phase

__all__ = ["FILE", "Range", "Ranges", "Verdict", "judge", "load"]

FILE = Path(__file__).with_name("ranges.yaml")


class Range(BaseModel):
    """The greatest value of one figure."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max: float
    at: int | None = None
    """The number of services that the range is for; None: any number."""

    def __str__(self) -> str:
        return f"≤ {self.max:g}" + (f" at {self.at:,}" if self.at else "")


class Ranges(RootModel[dict[str, dict[str, Range]]]):
    """By phase, then by figure."""

    def find(self, phase: str, figure: str) -> Range | None:
        """The range of a figure; None if it has none."""
        return self.root.get(phase, {}).get(figure)


@dataclass(frozen=True)
class Verdict:
    """One figure that has a range."""

    phase: Phase
    figure: str
    range: Range
    found: float | None
    met: bool

    def __str__(self) -> str:
        found = "not reached" if self.found is None else f"{self.found:.4g}"
        return f"{self.phase.name}, {self.phase.services:,} services, {self.figure}: {found}, {self.range}"


def load(path: Path = FILE) -> Ranges:
    """Reads the file. Raises pydantic's ValidationError if it is not valid."""
    return Ranges.model_validate(yaml.safe_load(path.read_text()))


def judge(ranges: Ranges, phases: Sequence[Phase]) -> list[Verdict]:
    """Checks every figure that has a range; a figure that was not reached misses its range."""
    return [
        Verdict(phase, figure, each, found, found is not None and found <= each.max)
        for phase in phases
        for figure, found in phase.figures.items()
        if (each := ranges.find(phase.name, figure)) and each.at in {None, phase.services}
    ]
