"""Ask an embedding service again and again, and print what came back: one JSON line a request. Runs in a pod.

    python load_client.py URL MODEL --requests 20000 --after-change 2000

With --until-stopped it goes on until SIGTERM. It ends when a request has been answered. Half of the threads open a
connection for every request, the other half keep theirs, as real clients do. A vector is identified by its first
number, which is enough to distinguish two models. Standard library only.
"""

import argparse
import http.client
import json
import signal
import sys
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

BODY_TEXT = "This is an example sentence for embedding generation."
BACKOFF = 0.1
"""Seconds after an error: while nobody answers, a log of errors alone would outgrow what the kubelet keeps."""


class Tally:
    """What has been answered until now, and whether that is enough."""

    def __init__(self, requests: int, after_change: int, seconds: float, *, is_stopped: bool = True) -> None:
        self.requests, self.after_change = requests, after_change
        self.is_stopped = is_stopped
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.first: str | None = None
        self.counts: Counter[bool] = Counter()
        self.is_answered = False
        """Whether the latest request was: nodes learn a moment after the API that a pod is ready."""

    def add(self, line: dict[str, object]) -> None:
        with self.lock:
            vector = line.get("vector")
            self.is_answered = vector is not None
            if self.first is None and isinstance(vector, str):
                self.first = vector
            self.counts[vector == self.first] += 1
            print(json.dumps(line), flush=False)

    @property
    def is_enough(self) -> bool:
        is_done = self.is_stopped and self.counts.total() >= self.requests and self.counts[False] >= self.after_change
        return (is_done and self.is_answered) or time.monotonic() > self.end


def ask(connection: http.client.HTTPConnection, model: str, *, keep: bool) -> dict[str, object]:
    """One request. Clients that keep a connection ask once more when the server had closed it before answering."""
    body = json.dumps({"model": model, "input": BODY_TEXT})
    headers = {"Content-Type": "application/json"} | ({} if keep else {"Connection": "close"})
    sent = time.time()
    for attempt in (1, 2):
        was_open = connection.sock is not None
        try:
            connection.request("POST", "/v1/embeddings", body, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if attempt == 1 and was_open and isinstance(error, ConnectionError | http.client.RemoteDisconnected):
                continue
            return {"sent": sent, "received": time.time(), "keep": keep, "error": repr(error)}
        if response.status != http.client.OK:
            return {"sent": sent, "received": time.time(), "keep": keep, "error": f"{response.status} {text[:200]!r}"}
        vector = f"{json.loads(text)['data'][0]['embedding'][0]:.4f}"
        return {"sent": sent, "received": time.time(), "keep": keep, "vector": vector}
    raise AssertionError


def work(address: tuple[str, int], model: str, tally: Tally, *, keep: bool, timeout: float) -> None:
    connection = http.client.HTTPConnection(*address, timeout=timeout)
    while not tally.is_enough:
        answer = ask(connection, model, keep=keep)
        tally.add(answer)
        if "error" in answer:
            time.sleep(BACKOFF)
        if not keep:
            connection.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("model")
    parser.add_argument("--requests", type=int, default=1000, help="at least so many")
    parser.add_argument("--after-change", type=int, default=0, help="at least so many answers of another vector")
    parser.add_argument("--seconds", type=float, default=600, help="at most so long")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--timeout", type=float, default=60, help="seconds for one request")
    parser.add_argument("--until-stopped", action="store_true", help="go on until SIGTERM, then until it is enough")
    given = parser.parse_args()
    parts = urlsplit(given.url)
    address = (parts.hostname or "localhost", parts.port or 80)
    tally = Tally(given.requests, given.after_change, given.seconds, is_stopped=not given.until_stopped)
    signal.signal(signal.SIGTERM, lambda *_: setattr(tally, "is_stopped", True))
    threads = [
        threading.Thread(
            target=work, args=(address, given.model, tally), kwargs={"keep": number % 2 == 0, "timeout": given.timeout}
        )
        for number in range(given.threads)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
