"""ASGI middleware, from the outermost to the innermost: observability, CORS, API keys, body, routes."""
