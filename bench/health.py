"""A light client of /healthz during the load: it shows whether the event loop is blocked."""

import http.client
import time

from bench.load import BadAnswers

__all__ = ["probe"]

EVERY = 0.02
"""Seconds between two requests."""


def probe(port: int, path: str, seconds: float) -> list[float]:
    """The seconds of each answer, on one connection. Raises BadAnswers for an answer other than 200.

    They count from when the request was due, not from when it was sent, because a slow answer delays the next requests.
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
