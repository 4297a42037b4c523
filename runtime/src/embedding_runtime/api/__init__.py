"""Thin routes over the engine."""

__all__: list[str] = []
