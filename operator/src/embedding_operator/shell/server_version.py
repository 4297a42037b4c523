"""The version of the API server. It is asked for where a service depends on it, and again after an upgrade."""

from embedding_operator.shell.client import Client
from embedding_operator.shell.clock import Clock

__all__ = ["ServerVersion"]

_KEPT = 600.0  # seconds


class ServerVersion:
    """Keeps the last answer for a while."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._known: tuple[int, int] | None = None
        self._read_at = 0.0

    async def read(self) -> tuple[int, int]:
        """Major and minor. Raises ClusterFault."""
        if self._known is None or self._clock.time() - self._read_at >= _KEPT:
            self._known = await self._client.server_version()
            self._read_at = self._clock.time()
        return self._known
