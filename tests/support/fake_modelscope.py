"""A ModelScope that serves directories: a fake, because the real one is out of reach of these tests.

It answers the two requests that the initializer sends as the real one answers its official client, modelscope_hub: the
listing, and a file, with ranges.
"""

import functools
import hashlib
import json
import re
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

__all__ = ["FakeModelScope"]


class FakeModelScope:
    """Serves repositories (name: directory) at the revision `master`."""

    def __init__(self, repositories: Mapping[str, Path], *, token: str | None = None) -> None:
        """`token`: without it, no repository is there."""
        self.repositories, self.token = repositories, token
        self.extra: list[Mapping[str, Any]] = []
        """Entries that each listing has besides the files."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, self))
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _PATH = re.compile(r"/api/v1/models/(?P<name>[^/]+/[^/]+)/repo(?P<files>/files)?")

    def __init__(self, hub: FakeModelScope, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        match, query = self._PATH.fullmatch(url.path), parse_qs(url.query)
        directory = self.hub.repositories.get(match["name"]) if match else None
        allowed = {f"Bearer {self.hub.token}", f"m_session_id={self.hub.token}"}
        is_allowed = self.hub.token is None or allowed == {self.headers["Authorization"], self.headers["Cookie"]}
        if match is None or directory is None or not is_allowed or query["Revision"] != ["master"]:
            self._json(HTTPStatus.NOT_FOUND, {"Code": 10010205001, "Message": "record not found", "Success": False})
        elif match["files"]:
            files = [_entry(directory, path) for path in sorted(directory.rglob("*"))]
            data = {"Files": [*files, *self.hub.extra], "IsVisual": 0, "LatestCommitter": {"Id": ""}}
            self._json(HTTPStatus.OK, {"Code": 200, "Data": data, "Message": "success", "Success": True})
        else:
            self._file(directory / query["FilePath"][0])

    def _file(self, path: Path) -> None:
        size = path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"] or "")
        start, stop = (int(asked[1]), int(asked[2]) + 1) if asked else (0, size)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"} if asked else {}
        with path.open("rb") as stream:
            stream.seek(start)
            content = stream.read(stop - start)
        self._answer(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, content, headers)

    def _json(self, status: HTTPStatus, body: object) -> None:
        self._answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _answer(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def _entry(directory: Path, path: Path) -> dict[str, Any]:
    content = path.read_bytes() if path.is_file() else b""
    return {
        "IsLFS": len(content) > 1_000_000,
        "Mode": "33188",
        "Name": path.name,
        "Path": path.relative_to(directory).as_posix(),
        "Revision": hashlib.sha1(content).hexdigest(),  # of the file's last change
        "Sha256": hashlib.sha256(content).hexdigest() if path.is_file() else "",
        "Size": len(content),
        "Type": "blob" if path.is_file() else "tree",
    }
