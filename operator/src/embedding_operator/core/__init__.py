"""Decisions, as pure functions of what was observed: no I/O, no clock, no Kubernetes client."""

__all__: list[str] = []
