"""What one run measured."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Phase", "Run"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Phase(_Frozen):
    """One phase with so many services there at its end."""

    name: str
    services: int
    foreign: int = 0
    """Secrets, ConfigMaps and pods of others beside them."""
    figures: dict[str, float | None]
    """None: not reached within the time limit."""
    requests: dict[str, int] = {}
    """By verb and resource, the operator's alone."""
    failures: dict[str, int] = {}
    """Answers of 400 and above, by status."""


class Run(_Frozen):
    """All phases, on one machine."""

    started: str
    commit: str
    machine: str
    idle_minutes: float
    phases: tuple[Phase, ...]
