"""A light client of /healthz beside the load: does the loop stay free?"""

import http.client
import time

from bench.load import BadAnswers

__all__ = ["probe"]

EVERY = 0.02
"""Seconds between two questions."""


def probe(port: int, path: str, seconds: float) -> list[float]:
    """How long each answer took, in seconds; one connection, kept open. Raises BadAnswers for any but 200.

    From the time that its question was due, not from when it was asked: behind a slow answer others come late, too.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    took: list[float] = []
    begin = time.monotonic()
    try:
        for number in range(int(seconds / EVERY)):
            due = begin + number * EVERY
            time.sleep(max(0.0, due - time.monotonic()))
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            took.append(time.monotonic() - due)
            if response.status != http.HTTPStatus.OK:
                raise BadAnswers(f"{path} answered {response.status} under load")
    finally:
        connection.close()
    return took
