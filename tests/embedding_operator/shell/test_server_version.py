"""The version of the API server is kept for ten minutes: an upgrade is noticed, and reconciles cost no call."""

import pytest

from embedding_operator.errors import Unavailable
from embedding_operator.shell.client import Client
from embedding_operator.shell.server_version import ServerVersion
from support.clock import ManualClock


class Versions(Client):
    """An API server that is upgraded with each answer, and does not answer after the last one."""

    def __init__(self, *minors: int) -> None:
        self.minors = list(minors)

    async def server_version(self) -> tuple[int, int]:
        if not self.minors:
            raise Unavailable("down")
        return 1, self.minors.pop(0)


async def test_it_is_read_again_after_ten_minutes() -> None:
    clock = ManualClock()
    version = ServerVersion(Versions(34, 35), clock)
    assert [await version.read(), await version.read()] == [(1, 34), (1, 34)]
    clock.now += 600
    assert await version.read() == (1, 35)


async def test_a_server_that_does_not_answer_is_a_fault() -> None:
    with pytest.raises(Unavailable):
        await ServerVersion(Versions(), ManualClock()).read()
