"""For each source with connections, one is cut at any byte of the answers: the model is whole, and what had arrived is
not sent again.
"""

import io
import random
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from embedding_runtime.storage.fetch import fetch
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.retries import Retries
from support.cutting_proxy import CuttingProxy
from support.fake_hub import FakeHub
from support.fake_modelscope import FakeModelScope
from support.initializer import a_model, files_of
from support.registry import a_registry, of_file
from support.storage_servers import STORES, running
from support.web_server import WebServer

MODEL: Mapping[str, bytes] = {
    "config.json": b"{}",
    "model.safetensors": random.Random(1).randbytes(300_000),
    "tokenizer.json": random.Random(2).randbytes(20_000),
}
HEADERS = 2_000
"""Bytes that one more answer may have besides its content, or a listing that is asked for once more."""


@dataclass(frozen=True)
class Served:
    """MODEL, behind a proxy."""

    uri: str
    proxy: CuttingProxy
    environ: Mapping[str, str]

    def download(self, into: Path) -> str:
        log = io.StringIO()
        say = Log(log, ())
        fetch(self.uri, into, self.environ, say, Retries(say.say, lambda _: None))
        return log.getvalue()


@contextmanager
def _hub(directory: Path) -> Iterator[Served]:
    served = a_model(directory / "served", MODEL)
    with FakeHub({"owner/name": served}) as hub, CuttingProxy(urlsplit(hub.url).port or 0) as proxy:
        yield Served("hf://owner/name", proxy, {"HF_ENDPOINT": proxy.url})


@contextmanager
def _web(directory: Path) -> Iterator[Served]:
    directory.mkdir()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in MODEL.items():
            archive.writestr(name, content)
    (directory / "model.zip").write_bytes(out.getvalue())
    with WebServer(directory) as server, CuttingProxy(server.port) as proxy:
        yield Served(f"{proxy.url}/model.zip", proxy, {})


def _store(scheme: str) -> Callable[[Path], AbstractContextManager[Served]]:
    @contextmanager
    def serve(directory: Path) -> Iterator[Served]:
        with running(scheme, directory) as server, CuttingProxy(server.port) as proxy:
            yield Served(server.put("model", MODEL), proxy, server.environment(proxy.port))

    return serve


@contextmanager
def _modelscope(directory: Path) -> Iterator[Served]:
    served = a_model(directory / "served", MODEL)
    with FakeModelScope({"owner/name": served}) as hub, CuttingProxy(hub.port) as proxy:
        yield Served("ms://owner/name", proxy, {"MODELSCOPE_ENDPOINT": proxy.url})


@contextmanager
def _registry(directory: Path) -> Iterator[Served]:
    with a_registry(directory) as registry, CuttingProxy(registry.port) as proxy:
        registry.push("model", [of_file(name, content) for name, content in MODEL.items()])
        yield Served(f"oci://127.0.0.1:{proxy.port}/model", proxy, {})


SOURCES: Mapping[str, Callable[[Path], AbstractContextManager[Served]]] = {
    "hf": _hub,
    "http": _web,
    "ms": _modelscope,
    "oci": _registry,
    **{scheme: _store(scheme) for scheme in STORES},
}


@pytest.fixture(params=SOURCES)
def served(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with SOURCES[request.param](tmp_path / "server") as served:
        for name, value in served.environ.items():  # the library of object stores reads them itself
            monkeypatch.setenv(name, value)
        yield served


@pytest.mark.parametrize("cuts", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_a_cut_connection_costs_no_byte_of_what_had_arrived(served: Served, tmp_path: Path, cuts: int) -> None:
    served.proxy.reset(None)
    served.download(tmp_path / "uncut")
    total = served.proxy.sent
    draw = random.Random(cuts)
    for number in range(cuts):
        position = draw.randrange(total)
        into = tmp_path / f"models-{number}"
        served.proxy.reset(position)
        log = served.download(into)
        assert log.count("retrying") == 1, (position, log)
        assert files_of(into) == MODEL, position
        assert served.proxy.sent <= total + HEADERS, (position, log)
