"""Which files are tests of another environment: `tests/test_clients.py` runs them there."""

collect_ignore = ["clients"]
