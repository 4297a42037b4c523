"""An image with a model in /models, and the registry that has it: on this machine, which is a native cluster's node."""

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["pushed"]

_OCI = "application/vnd.oci.image"


@contextmanager
def pushed(directory: Path) -> Iterator[str]:
    """The oci:// URI of an image whose /models has the files of a directory, while it can be pulled."""
    layer = _layer(directory)
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]}}
    ).encode()
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": f"{_OCI}.manifest.v1+json",
            "config": _descriptor(f"{_OCI}.config.v1+json", config),
            "layers": [_descriptor(f"{_OCI}.layer.v1.tar", layer)],
        }
    ).encode()
    with _registry({_digest(each): each for each in (layer, config, manifest)}) as port:
        yield f"oci://127.0.0.1:{port}/minilm@{_digest(manifest)}"


def _layer(directory: Path) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(directory, "models", filter=_readable_by_all)
    return out.getvalue()


def _readable_by_all(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.mode, member.uid, member.gid = 0o755 if member.isdir() else 0o644, 0, 0
    return member


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def _registry(contents: Mapping[str, bytes]) -> Iterator[int]:
    """Read-only, on a port of the loopback address, where container runtimes use http:// if they must."""

    class Handler(BaseHTTPRequestHandler):
        default_request_version = "HTTP/1.1"  # of what is no HTTP: container runtimes try TLS first, and need an answer

        def do_GET(self) -> None:
            content = contents.get(self.path.rpartition("/")[2], b"")
            is_manifest = "/manifests/" in self.path
            self.send_response(200 if content or self.path == "/v2/" else 404)
            self.send_header("Content-Type", f"{_OCI}.manifest.v1+json" if is_manifest else "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815 as http.server names it

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
