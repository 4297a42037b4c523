"""Decisions about one ModelCache: snapshot -> models and Jobs -> status -> plan."""

__all__: list[str] = []
