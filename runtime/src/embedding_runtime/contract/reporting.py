"""The table that `check` prints, here and in the operator."""

from collections.abc import Mapping
from typing import Any

__all__ = ["report"]


def report(found: Mapping[str, Any]) -> str:
    """One line for each finding that is not empty."""
    known = {name: value for name, value in found.items() if value not in (None, [], "")}
    return "\n".join(f"{name.replace('_', ' '):<20}{_shown(name, value)}" for name, value in known.items())


def _shown(name: str, value: Any) -> str:
    if name == "memory_bytes":
        return f"{value / (1 << 20):,.0f} MiB, with one worker and a full batch"
    if isinstance(value, list):
        return "; ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
