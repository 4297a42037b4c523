"""Offers to upgrade the protocol. The server ignores them (RFC 9110, 7.8).

Java's HttpClient offers h2c with every request.
"""

from collections.abc import Sequence

import httptools

__all__ = ["head_without_upgrade"]


def head_without_upgrade(
    parser: httptools.HttpRequestParser, url: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """The head of a request that `parser` has read, without its offer. The names of `headers` are lower case."""
    lines = [b"%s %s HTTP/%s" % (parser.get_method(), url, parser.get_http_version().encode())]
    for name, value in headers:
        if name == b"connection":
            kept = [word for word in value.split(b",") if word.strip().lower() not in _ONE_HOP]
            lines += [b"connection: %s" % b",".join(kept)] if kept else []
        elif name not in _ONE_HOP:
            lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


_ONE_HOP = frozenset({b"upgrade", b"http2-settings"})
"""Headers, and values of Connection, that belong to an offer to upgrade."""
