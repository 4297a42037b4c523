"""Turns EmbeddingService resources into running embedding endpoints."""

__all__: list[str] = []
