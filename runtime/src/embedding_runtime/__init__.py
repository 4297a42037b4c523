"""Serves embedding models over HTTP, and fetches the models it serves."""

__all__: list[str] = []
