"""The results of one run."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Phase", "Run"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Frozen):
    """One phase; `services` is their number at its end."""

    name: str
    services: int
    foreign: int = 0
    """Number of foreign Secrets, ConfigMaps and pods."""
    figures: dict[str, float | None]
    """None: not reached within the time limit."""
    requests: dict[str, int] = {}
    """The operator's requests by verb and resource."""
    failures: dict[str, int] = {}
    """Answers of 400 and above, by status."""


class Run(_Frozen):
    """All phases, on one machine."""

    started: str
    commit: str
    machine: str
    idle_minutes: float
    phases: tuple[Phase, ...]
