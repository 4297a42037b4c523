"""ASGI middleware, from the outermost: observability, API keys, the body."""
