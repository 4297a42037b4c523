"""HTTP: connections, middleware, the pipeline from a request to its answer, and the dialects of each API."""
