"""Ports for servers that cannot choose one themselves."""

import itertools
import os
import random
import socket
from collections.abc import Iterator

__all__ = ["a_free_port"]

_PORTS = range(17_000, 32_000)
"""Below those that Linux gives to clients, and to servers that leave the choice to it: one of those may be taken again
before our server listens on it."""
_WORKERS = 10


def _own_ports() -> Iterator[int]:
    """Every second port of this worker of pytest-xdist, in turn."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    size = len(_PORTS) // _WORKERS
    own = _PORTS[worker * size : (worker + 1) * size : 2]
    start = random.SystemRandom().randrange(len(own))  # pytest-randomly seeds the others
    return itertools.cycle([*own[start:], *own[:start]])


_OWN = _own_ports()


def a_free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens; the next port is free, too."""
    return next(port for port in _OWN if _is_free(port) and _is_free(port + 1))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
