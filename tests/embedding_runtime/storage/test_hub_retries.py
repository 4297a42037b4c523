import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants
from huggingface_hub.utils.tqdm import disable_progress_bars, enable_progress_bars

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.hub import download_model
from embedding_runtime.storage.hub_faults import may_pass, no_model
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.request import Hub, Request
from support.fake_hub import FakeHub
from support.initializer import MODEL, a_model, files_of


@dataclass
class Download:
    """One download in this process, whose pauses take no time."""

    into: Path
    pauses: list[float] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def from_hub(self, endpoint: str) -> None:
        request = Request("hf://owner/name", "owner/name", None, Hub(endpoint, None))
        self.into.mkdir()
        download_model(request, self.into, self.into.parent / "cache", Log(self.log, ()), self.pauses.append)


@pytest.fixture
def download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Download]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    disable_progress_bars()
    yield Download(tmp_path / "model")
    enable_progress_bars()
    close_session()


def test_an_unavailable_hub_is_retried(download: Download, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.unavailable = 2
        download.from_hub(hub.url)
    assert download.pauses == [2, 4]
    assert "attempt 1 failed" in download.log.getvalue()
    assert files_of(download.into) == dict(MODEL)


def test_a_hub_that_stays_unavailable_fails_with_the_number_of_attempts(download: Download, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.unavailable = 99
        with pytest.raises(NoModel) as caught:
            download.from_hub(hub.url)
    assert caught.value.failed.verdict is DownloadVerdict.DOWNLOAD_FAILED
    assert f"attempt 4 failed at {hub.url}: the hub answered 503" in caught.value.failed.message
    assert download.pauses == [2, 4, 8]


def test_a_broken_download_is_resumed(download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 10)
    files = {"config.json": b"0123456789" * 10}
    with FakeHub({"owner/name": a_model(tmp_path / "served", files)}) as hub:
        hub.faults.cut = 1
        download.from_hub(hub.url)
        assert [request.range for request in hub.seen if request.range] == ["bytes=50-"]
    assert download.pauses == []
    assert files_of(download.into) == files


def test_only_a_damaged_file_is_downloaded_again(download: Download, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.corrupt = 1
        download.from_hub(hub.url)
        fetched = [request.path for request in hub.seen if request.method == "GET" and "/resolve/" in request.path]
    assert download.pauses == [2]
    assert len(fetched) == len(MODEL) + 1
    assert files_of(download.into) == dict(MODEL)


def test_a_file_that_stays_damaged_is_named(download: Download, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.corrupt = 99
        with pytest.raises(NoModel, match=r"the checksum of \S+ is not the one that the hub lists"):
            download.from_hub(hub.url)


def test_nobody_listening_is_a_broken_connection(download: Download) -> None:
    with _a_closed_port() as port, pytest.raises(NoModel, match="Connection refused") as caught:
        download.from_hub(f"http://127.0.0.1:{port}")
    assert caught.value.failed.verdict is DownloadVerdict.DOWNLOAD_FAILED
    assert download.pauses == [2, 4, 8]


def test_a_volume_without_room_fails_before_the_download(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(free=1_000_000))
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        with pytest.raises(NoModel, match=r"needs 2\.0 MB, but the volume has 1\.0 MB free"):
            download.from_hub(hub.url)
        assert not any("/resolve/" in request.path for request in hub.seen)


def test_a_response_that_is_not_json_is_not_retried() -> None:
    error = json.JSONDecodeError("Expecting value", "<html>", 0)
    request = Request("hf://owner/name", "owner/name", None, Hub("http://proxy.example", None))
    assert not may_pass(error)
    words = "hf://owner/name: attempt 1 failed at http://proxy.example: the response is not from a Hugging Face hub"
    assert no_model(error, request, 1).failed.message.startswith(words)


@dataclass(frozen=True)
class _Usage:
    free: int


@contextmanager
def _a_closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else listens there either."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
