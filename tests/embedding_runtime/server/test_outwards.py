"""A server opens no outgoing connections: strace records the system calls of both processes."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runtime_server import RuntimeServer

SPEAKING = "connect,sendto,sendmsg,sendmmsg"

CONTROL = """
import socket
for address in (("192.0.2.1", 9), ("127.0.0.1", 53)):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(address)  # of datagrams: nothing is sent
with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one:
    one.connect(("::1", 9))
"""


@pytest.fixture(autouse=True)
def strace_is_there() -> None:
    if shutil.which("strace") is None:
        pytest.skip("there is no strace: tools/debian.sh strace")
    if subprocess.run(["strace", "-f", "-o", "/dev/null", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace may not trace here")


@pytest.fixture(autouse=True)
def nothing_in_the_environment_keeps_it_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DO_NOT_TRACK", "GLOO_SOCKET_IFNAME", "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("USER", "embedding")  # as in the image; else torch asks the system's name service who it is


def used(backend: str, trace: Path, *, model: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a server, call its paths, and return strace's output: one line per system call, after the process id."""
    # -D: the server stays our child, and strace is its grandchild.
    under = ["strace", "-D", "-f", "--seccomp-bpf", "-e", f"trace={SPEAKING}", "-o", str(trace)]
    with RuntimeServer(backend, model=model, env=env, under=under) as server:
        assert server.ready().embeddings(input=["one", "two"]).status_code == 200
        with server.http() as http:
            for path in ("/", "/docs", "/metrics", "/healthz", "/v1/models", "/info"):
                assert http.get(path).status_code == 200
        assert server.stop(signal.SIGTERM) == 0
    return trace.read_text()  # all of it: strace ends after its last process, and has its output open until then


def outwards(trace: str) -> Iterator[str]:
    """Calls that name an address, but for the kernel's own (netlink) and this machine's (and there, DNS counts)."""
    for line in trace.splitlines():
        family = re.search(r"sa_family=(\w+)", line)
        if family is None or family[1] == "AF_NETLINK":
            continue
        here = re.search(r'inet_addr\("127\.|inet_pton\(AF_INET6, "(::1|::ffff:127\.[\d.]+)"', line)
        if not here or "htons(53)" in line:
            yield line


def test_an_outgoing_connection_is_detected(tmp_path: Path) -> None:
    """Without this the others would show nothing: front and worker begin with what CONTROL does."""
    (tmp_path / "sitecustomize.py").write_text(CONTROL)
    seen = list(outwards(used("fake", tmp_path / "trace", env={"PYTHONPATH": str(tmp_path)})))
    assert len({line.split()[0] for line in seen}) == 2  # processes
    assert [("192.0.2.1" in line, "htons(53)" in line) for line in seen] == [(True, False), (False, True)] * 2


@pytest.mark.model
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_transformers_opens_no_connections(tmp_path: Path) -> None:
    tiny = pytest.importorskip("support.tiny_models")
    model = tiny.a_transformer(tmp_path / "model", tiny.SHAPES["bert"])
    assert list(outwards(used("huggingface", tmp_path / "trace", model=model))) == []


@pytest.mark.model
@pytest.mark.slow
def test_vllm_opens_no_connections(tmp_path: Path) -> None:
    pytest.importorskip("vllm")
    assert list(outwards(used("vllm", tmp_path / "trace"))) == []
