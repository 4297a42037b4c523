"""What one run found, drawn."""

from pathlib import Path
from bench.results import Run

__all__ = ["draw"]


def draw(run: Run, base: Path) -> list[Path]:
    return []
