"""One shared server per backend for tests that only send requests. Tests that harm a server start their own."""

from collections.abc import Iterator

import pytest

from support.runtime_server import RuntimeServer


@pytest.fixture(scope="session")
def fake_server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()
