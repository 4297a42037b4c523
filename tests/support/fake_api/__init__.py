"""A fake Kubernetes API server that prunes, defaults, checks and merges like the real one.

    async with fake_api() as api:  # serves the built-in kinds and those of crds/
        api.create({...})  # as somebody else; so do apply, replace, delete
        client = api.client()  # the official client; kopf takes api.configuration
        api.faults.fail("patch", "deployments", 503, times=2)
        assert not api.writes  # what came over HTTP

tests/support/api_scenarios.py says what both have in common, and runs against both. What this one leaves out: CEL
rules, unknown fields of built-in kinds (they pass), strategic merge and JSON patches, PUT that creates, and every
controller but the garbage collector and that of namespaces.
"""

from support.fake_api.errors import ApiError
from support.fake_api.faults import Request
from support.fake_api.server import FakeApi, fake_api

__all__ = ["ApiError", "FakeApi", "Request", "fake_api"]
