"""A fake Kubernetes API server that prunes, defaults, checks and merges like the real one.

tests/support/api_scenarios.py says what both have in common, and runs against both.
"""

from support.fake_api.errors import ApiError
from support.fake_api.faults import Request
from support.fake_api.server import FakeApi, fake_api

__all__ = ["ApiError", "FakeApi", "Request", "fake_api"]
