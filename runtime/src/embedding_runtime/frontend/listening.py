"""The socket that the server listens on."""

import errno
import socket

__all__ = ["listen"]

_EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 a pod's own addresses
"""Hosts that mean all addresses."""


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address, or on all addresses of IPv6 and IPv4. Raises OSError.

    IPv6-only clusters have no 0.0.0.0, and machines without IPv6 have no ::.
    """
    if host in _EVERYWHERE:
        if socket.has_dualstack_ipv6():
            try:
                return socket.create_server(("::", port), family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
            except OSError as error:
                if error.errno not in _NO_IPV6:
                    raise
        host = "0.0.0.0"  # noqa: S104
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


_BACKLOG = 1024

_NO_IPV6 = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})
