"""Draining: the operator annotates a pod that will lose its traffic; the kubelet writes the annotation to a file."""

import asyncio
import logging
from pathlib import Path

from embedding_runtime.frontend.connection_limits import Connections

__all__ = ["follow_drain_file"]

_log = logging.getLogger(__name__)

_PAUSE = 0.25
"""Interval of checks in seconds. The annotation is set three seconds before the traffic moves."""


async def follow_drain_file(path: Path, connections: Connections) -> None:
    """While the file is not empty, close idle connections, and others with their next response.

    No client then keeps a connection to this server when the Service selects another one. Outside of a pod the file's
    directory does not exist, and this returns immediately.
    """
    if not path.parent.is_dir():
        return
    while True:
        is_draining = bool(_text(path))
        if is_draining and not connections.is_draining:
            _log.info("draining: each connection is closed with its next response")
        connections.is_draining = is_draining
        if is_draining:
            connections.close_idle()
        await asyncio.sleep(_PAUSE)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # not written yet, or just being replaced
        return ""
