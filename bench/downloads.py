"""Compares downloads of the initializer with curl's: the same bytes, from the same servers, which run here.

Examples:
  python -m bench.downloads                          all sources, five rounds: about five minutes
  python -m bench.downloads --sources hf,http --rounds 1
                                                     two of them, in half a minute

A ratio is curl's seconds by ours, each the median of the rounds: above 1, the initializer is faster. Its seconds
include its start, and the digests that it computes and curl does not. TMPDIR needs space for three times --mb.
"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from support.fake_hub import FakeHub
from support.fake_modelscope import FakeModelScope
from support.registry import a_registry, of_file
from support.storage_servers import gofakes3, running
from support.web_server import WebServer

Files = Mapping[str, bytes]

_SMALL = 64 << 10

_DISTANCE = 5
"""Milliseconds to the server: within a region of a cloud."""


@dataclass(frozen=True)
class Served:
    """Files at a server."""

    uri: str
    urls: Mapping[str, str]
    """For curl, by path."""
    environ: Mapping[str, str] = field(default_factory=dict)
    headers: Sequence[str] = ()
    """For curl."""
    note: str = ""


@dataclass(frozen=True)
class Run:
    """One process."""

    seconds: float
    peak: int
    """Bytes of memory."""


def _write(directory: Path, files: Files) -> Path:
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


@contextmanager
def _hf(directory: Path, files: Files) -> Iterator[Served]:
    with FakeHub({"owner/name": _write(directory / "served", files)}) as hub:
        yield _of_hub(hub, files)


def _of_hub(hub: FakeHub, files: Files) -> Served:
    commit = hub.repositories["owner/name"].commit
    urls = {name: f"{hub.url}/owner/name/resolve/{commit}/{name}" for name in files}
    return Served("hf://owner/name", urls, {"HF_ENDPOINT": hub.url})


@contextmanager
def _distant_hf(directory: Path, files: Files) -> Iterator[Served]:
    with FakeHub({"owner/name": _write(directory / "served", files)}) as hub:
        hub.faults.milliseconds = _DISTANCE
        yield replace(_of_hub(hub, files), note=f", {_DISTANCE} ms away")


@contextmanager
def _ms(directory: Path, files: Files) -> Iterator[Served]:
    with FakeModelScope({"owner/name": _write(directory / "served", files)}) as hub:
        root = f"{hub.url}/api/v1/models/owner/name/repo?Revision=master&FilePath="
        yield Served("ms://owner/name", {name: root + quote(name) for name in files}, {"MODELSCOPE_ENDPOINT": hub.url})


@contextmanager
def _http(directory: Path, files: Files) -> Iterator[Served]:
    with WebServer(_write(directory / "served", files)) as server:
        (name,) = (name for name in files if name.startswith("model"))
        yield Served(f"{server.url}/{name}", {name: f"{server.url}/{name}"})


@contextmanager
def _oci(directory: Path, files: Files) -> Iterator[Served]:
    with a_registry(directory) as registry:
        layers = [of_file(name, content) for name, content in files.items()]
        described = registry.manifest("model", layers)
        registry.push_manifest("model", described)
        blobs = f"http://{registry.host}/v2/model/blobs/"
        urls = {name: blobs + each["digest"] for name, each in zip(files, described["layers"], strict=True)}
        yield Served(f"oci://{registry.host}/model", urls)


@contextmanager
def _s3(directory: Path, files: Files) -> Iterator[Served]:
    with running("s3", directory, gofakes3) as server:
        uri = server.put("model", files)
        urls = {name: f"http://127.0.0.1:{server.port}/bucket/model/{name}" for name in files}
        signature = "Authorization: AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"
        yield Served(uri, urls, server.environment(server.port), (signature,))


@contextmanager
def _gs(directory: Path, files: Files) -> Iterator[Served]:
    with running("gs", directory) as server:
        uri = server.put("model", files)
        urls = {name: f"http://127.0.0.1:{server.port}/bucket/{quote(f'model/{name}')}" for name in files}
        yield Served(uri, urls, server.environment(server.port))


SOURCES: Mapping[str, Callable[[Path, Files], AbstractContextManager[Served]]] = {
    "hf": _hf,
    "hf-distant": _distant_hf,
    "http": _http,
    "oci": _oci,
    "ms": _ms,
    "s3": _s3,
    "gs": _gs,
}


def main() -> int:
    """Exit code: 0 after a run, whatever the results are; 1 if a download fails."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.downloads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sources", default=",".join(SOURCES), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--mb", type=int, default=1024, help="MiB of the large file (default: %(default)s)")
    parser.add_argument("--files", type=int, default=1000, help="number of small files (default: %(default)s)")
    parser.add_argument(
        "--python", default=sys.executable, help="of an environment with the extra `storage` alone, which starts faster"
    )
    args = parser.parse_args()
    print("| source | files | curl | curl, 8 at a time | initializer | by curl | by curl, 8 at a time | peak memory |")
    print("|---|---|---|---|---|---|---|---|")
    for name in args.sources.split(","):
        large = {"config.json": b"{}", "model.safetensors": os.urandom(1 << 20) * args.mb}
        small = {f"part-{number:04}.json": os.urandom(_SMALL) for number in range(args.files)}
        workloads = {f"one of {args.mb} MiB": large, f"{args.files} of 64 KiB": {"config.json": b"{}", **small}}
        for what, files in list(workloads.items())[: 1 if name == "http" else 2]:
            with tempfile.TemporaryDirectory() as directory:
                try:
                    with SOURCES[name](Path(directory) / "server", files) as served:
                        print(
                            f"| `{_scheme(served)}`{served.note} | {what} | {_row(served, Path(directory), args)} |",
                            flush=True,
                        )
                except pytest.skip.Exception as missing:
                    print(f"{name}: {missing}", file=sys.stderr)
                except subprocess.CalledProcessError as failed:
                    print(f"{name}: {failed}", file=sys.stderr)
                    return 1
    return 0


def _scheme(served: Served) -> str:
    return served.uri[: served.uri.index("//") + 2]


def _row(served: Served, directory: Path, args: argparse.Namespace) -> str:
    commands = {
        "curl": ["curl", *_curl(served, directory)],
        "parallel": ["curl", "--parallel", "--parallel-max", "8", *_curl(served, directory)],
        "ours": [args.python, "-m", "embedding_runtime.storage", served.uri, str(directory / "into")],
    }
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(args.rounds):
        for name, command in commands.items():
            runs[name].append(_run(command, {**os.environ, **served.environ}))
            shutil.rmtree(directory / "into")
    seconds = {name: statistics.median(run.seconds for run in each) for name, each in runs.items()}
    times = " | ".join(f"{seconds[name]:.2f} s" for name in commands)
    ratios = " | ".join(f"{seconds[name] / seconds['ours']:.2f}" for name in ("curl", "parallel"))
    return f"{times} | {ratios} | {max(run.peak for run in runs['ours']) >> 20} MiB"


def _curl(served: Served, directory: Path) -> list[str]:
    """The arguments for all files; a long list is in a file."""
    lines = [f'url = "{url}"\noutput = "{directory}/into/{name}"' for name, url in served.urls.items()]
    (directory / "curl").write_text("\n".join([*lines, "create-dirs", "fail", "silent", "show-error"]))
    return ["--config", str(directory / "curl"), *(part for each in served.headers for part in ("--header", each))]


def _run(command: Sequence[str], environ: Mapping[str, str]) -> Run:
    """Raises CalledProcessError."""
    began, peak = time.monotonic(), 0
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:  # noqa: S603 one of two programs
        while process.poll() is None:
            peak = max(peak, _peak(process.pid))
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        seconds = time.monotonic() - began
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, list(command))
    return Run(seconds, peak)


def _peak(pid: int) -> int:
    """The most memory that a process has had, in bytes, which ends with it."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) << 10 if found else 0


if __name__ == "__main__":
    sys.exit(main())
