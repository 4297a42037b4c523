"""Detects clients that read their responses too slowly."""

import asyncio
from collections.abc import Callable

__all__ = ["PROGRESS", "ReadTimer"]

PROGRESS = 1 << 16
"""Bytes of a response that a client must read within the write timeout, or half of a smaller rest."""

FIRST_CREDIT, CREDIT = 2 * PROGRESS, 4 * PROGRESS
"""Maximum bytes that count as read in advance, at the start of a response and later.

The kernels on both ends accept that many at once, and then none until the client has read them.
"""


class ReadTimer:
    """Measures how much of a response the client reads within each `timeout`, until `stop`."""

    def __init__(self, transport: asyncio.Transport, timeout: float, too_slow: Callable[[int], None]) -> None:
        """`too_slow`: called once, with the bytes that the client has read within the last `timeout` seconds."""
        self._transport, self._timeout, self._too_slow = transport, timeout, too_slow
        self._credit = FIRST_CREDIT
        self._start()

    def stop(self) -> None:
        """The client has read the response, or is gone."""
        self._timer.cancel()

    def _start(self) -> None:
        self._unsent = self._transport.get_write_buffer_size()
        self._timer = asyncio.get_running_loop().call_later(self._timeout, self._check)

    def _check(self) -> None:
        read = self._unsent - self._transport.get_write_buffer_size()
        self._credit = min(CREDIT, self._credit + read - min(PROGRESS, self._unsent // 2))
        if self._credit >= 0:
            self._start()
        else:
            self._too_slow(max(read, 0))
