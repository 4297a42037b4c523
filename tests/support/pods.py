"""Pods that the operator can ask: a server on loopback that sends what a test says, byte by byte if need be."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

__all__ = ["Pods", "Reply", "as_json", "pods"]

Reply = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]
"""The whole response, or what writes it."""


def as_json(**values: object) -> bytes:
    """A 200 response as a pod of ours gives it."""
    body = json.dumps(values).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


class Pods:
    """One server for all of them: a pod is a path."""

    def __init__(self, host: str) -> None:
        self.port = 0
        self.replies: dict[str, Reply] = {}
        """By path; others get 404."""
        self.seen: Counter[str] = Counter()
        """How often each path was asked for."""
        self.requests: list[bytes] = []
        self.most_open = 0
        self._host = f"[{host}]" if ":" in host else host
        self._answering: set[asyncio.Task[object]] = set()

    def url(self, path: str) -> str:
        return f"http://{self._host}:{self.port}{path}"

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._answering.add(task)
        self.most_open = max(self.most_open, len(self._answering))
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(request)
            path = request.split(b" ")[1].decode()
            self.seen[path] += 1
            reply = self.replies.get(path, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            if isinstance(reply, bytes):
                writer.write(reply)
                await writer.drain()
            else:
                await reply(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the operator has had enough
        finally:
            self._answering.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End the answers that never end."""
        for task in (answering := list(self._answering)):
            task.cancel()
        await asyncio.gather(*answering, return_exceptions=True)


@asynccontextmanager
async def pods(host: str = "127.0.0.1") -> AsyncIterator[Pods]:
    """Raises OSError where this machine has no such address."""
    running = Pods(host)
    async with await asyncio.start_server(running.answer, host, 0) as server:
        running.port = server.sockets[0].getsockname()[1]
        try:
            yield running
        finally:
            await running.stop()
