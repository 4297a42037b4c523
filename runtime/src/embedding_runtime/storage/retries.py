"""Repeats what may pass: with pauses that grow and vary, or for as long as the server asks."""

import random
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import TypeVar

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.source import Source

__all__ = ["Retries"]

T = TypeVar("T")

_PAUSES = (2, 4, 8)
"""Upper bounds of the pauses between attempts in seconds; half of each is random."""

_LONGEST_WAIT = 300
"""Seconds of a Retry-After that are waited for. The kubelet, which restarts initializers, waits as long."""

_PROGRESS = 1 << 20
"""Bytes after which a broken transfer counts as a new one."""


@dataclass(frozen=True)
class Retries:
    """The policy of all requests of a download. Thread-safe."""

    say: Callable[[str], None]
    pause: Callable[[float], None] | None = None
    """Instead of waiting; for tests."""
    draw: Callable[[float, float], float] = random.uniform
    cancelled: threading.Event = field(default_factory=threading.Event)
    """Ends all pauses: another part of the download has failed."""

    def run(self, attempt: Callable[[], T], source: Source, position: Callable[[], int] = lambda: 0) -> T:
        """Call `attempt` until it is not Interrupted. Raises NoModel after the last attempt.

        `position`: bytes read so far. Attempts that make progress are not counted.
        """
        count, begin = 0, position()
        while True:
            try:
                return attempt()
            except Interrupted as error:
                if position() - begin >= _PROGRESS:
                    count, begin = 0, position()
                count += 1
                message = f"{source.about}attempt {count} failed at {error.server or source.server}: {error}"
                if count > len(_PAUSES) or (error.retry_after or 0) > _LONGEST_WAIT:
                    raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message, resumable=True) from error
                most = _PAUSES[count - 1]
                seconds = error.retry_after if error.retry_after is not None else self.draw(most / 2, most)
                self.say(f"{message}; retrying in {seconds:.1f} seconds")
                (self.pause or self.cancelled.wait)(seconds)
                if self.cancelled.is_set():
                    raise CancelledError from error
