"""What to do about what is seen: pure functions; no I/O, no clock, no Kubernetes client."""

__all__: list[str] = []
