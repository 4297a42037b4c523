"""One server a backend for all tests that only ask it; whoever harms a server starts one of their own."""

from collections.abc import Iterator

import pytest

from support.runtime_server import RuntimeServer


@pytest.fixture(scope="session")
def fake_server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()
