"""`make bench-operator`: the operator at scale, measured as a black box against a real API server.

- `ranges`, `ranges.yaml`: the limits, and whether they are met (pure); `results`: what was measured (pure)
- `counts`: API requests by verb and resource (pure); `proxy`: the process that counts them
- `fleet`: which services are level (pure); `watches`: what feeds it; `client`: requests to the API server
- `generator`: the objects that are created, and their deletion
- `operator_process`: the operator, its CPU time and memory; `session`: what it used between two moments, when it rests
- `phases`, `faults`: what is measured; `plan`: in which order; `table`: what is written about it (pure)
"""

__all__: list[str] = []
