"""Cohere's `/v1/embed` and `/v2/embed`."""
