"""One shared server per backend for tests that only send requests. Tests that harm a server start their own."""

import logging
from collections.abc import Iterator

import pytest

from embedding_runtime.observability import logs
from support.runtime_server import RuntimeServer


@pytest.fixture(scope="session")
def fake_server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()


@pytest.fixture
def loggers_as_they_were() -> Iterator[None]:
    """For tests of what sets up the logs of its process: a handler that stays would write to a stream that is gone."""
    root, ours = logging.getLogger(), logging.getLogger("embedding_runtime")
    before = root.handlers[:], root.level, ours.level, logs.ACCESS.level
    yield
    root.handlers[:] = before[0]
    for logger, level in zip((root, ours, logs.ACCESS), before[1:], strict=True):
        logger.setLevel(level)
