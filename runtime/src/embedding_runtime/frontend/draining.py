"""Whether this server is about to lose its traffic: the operator annotates its pod, the kubelet writes a file."""

import asyncio
import logging
from pathlib import Path

from embedding_runtime.frontend.connection_limits import Connections

__all__ = ["follow_drain_file"]

_log = logging.getLogger(__name__)

_PAUSE = 0.25
"""Seconds between two looks: a notice comes three seconds before the traffic goes."""


async def follow_drain_file(path: Path, connections: Connections) -> None:
    """While the file is there and not empty, close every connection with its next answer, and idle ones.

    Then no client stays on a connection to this server when its Service selects another one. Outside of a pod the
    file's directory does not exist, and this returns at once.
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
