"""What computes vectors, in the worker process. `registry` loads one; nothing heavy is imported before."""

__all__: list[str] = []
