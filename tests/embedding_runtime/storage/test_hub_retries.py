import io
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.fetch import fetch
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.sources.hugging_face import Hub, HubSource
from support.fake_hub import FakeHub
from support.initializer import MODEL, a_model, files_of
from support.scripted_server import Answer, serving


@dataclass
class Download:
    """One download in this process, whose pauses take no time, and are as long as they may be."""

    into: Path
    pauses: list[float] = field(default_factory=list)
    log: io.StringIO = field(default_factory=io.StringIO)

    def from_hub(self, endpoint: str) -> None:
        log = Log(self.log, ())
        retries = Retries(log.say, self.pauses.append, lambda _least, most: most)
        fetch("hf://owner/name", self.into, {"HF_ENDPOINT": endpoint}, log, retries)


@pytest.fixture
def download(tmp_path: Path) -> Download:
    return Download(tmp_path / "model")


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
    assert f"attempt 4 failed at {hub.url}: the server answered 503" in caught.value.failed.message
    assert download.pauses == [2, 4, 8]


def test_a_busy_hub_is_asked_again_when_it_says(download: Download, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.busy = 2
        download.from_hub(hub.url)
    assert download.pauses == [7, 7]
    assert files_of(download.into) == dict(MODEL)


def test_a_hub_that_is_busy_for_an_hour_is_not_waited_for(download: Download, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.busy, hub.faults.retry_after = 1, 3600
        with pytest.raises(NoModel, match="the server answered 429"):
            download.from_hub(hub.url)
    assert download.pauses == []


def test_a_broken_download_is_resumed(download: Download, tmp_path: Path) -> None:
    files = {"config.json": b"0123456789" * 10}
    with FakeHub({"owner/name": a_model(tmp_path / "served", files)}) as hub:
        hub.faults.cut = 1
        download.from_hub(hub.url)
        assert [request.range for request in hub.seen if request.range] == ["bytes=0-99", "bytes=50-99"]
    assert download.pauses == [2]
    assert files_of(download.into) == files


def test_a_download_that_failed_is_resumed_by_the_next_process(download: Download, tmp_path: Path) -> None:
    files = {"config.json": b"0123456789" * 16}
    with FakeHub({"owner/name": a_model(tmp_path / "served", files)}) as hub:
        hub.faults.cut = 99
        with pytest.raises(NoModel, match="attempt 4 failed"):
            download.from_hub(hub.url)
        hub.faults.cut = 0
        assert not download.into.exists()
        download.from_hub(hub.url)
        ranges = [request.range for request in hub.seen if request.range]
    assert ranges == [f"bytes={start}-159" for start in (0, 80, 120, 140, 150)]
    assert " from an earlier attempt" in download.log.getvalue()
    assert files_of(download.into) == files
    assert {path.name for path in tmp_path.iterdir()} == {"served", "model"}


def test_what_is_left_of_another_version_is_not_mixed_in(download: Download, tmp_path: Path) -> None:
    old = {"config.json": b"{}", "model.safetensors": b"old" * 1000, "vocab.txt": b"old"}
    new = {"config.json": b"{}", "model.safetensors": b"new" * 1000}
    with FakeHub({"owner/name": a_model(tmp_path / "old", old)}) as hub:
        hub.faults.cut = 99
        with pytest.raises(NoModel):
            download.from_hub(hub.url)
        hub.faults.cut = 0
        hub.push("owner/name", a_model(tmp_path / "new", new))
        download.from_hub(hub.url)
    assert files_of(download.into) == new


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
        with pytest.raises(
            NoModel, match=r"the checksum of \S+ is (git|sha256) [0-9a-f]+, but [0-9a-f]+ is listed"
        ) as caught:
            download.from_hub(hub.url)
    assert caught.value.failed.verdict is DownloadVerdict.CHECKSUM_MISMATCH


def test_nobody_listening_is_a_broken_connection(download: Download) -> None:
    with _a_closed_port() as port, pytest.raises(NoModel, match="Connection refused") as caught:
        download.from_hub(f"http://127.0.0.1:{port}")
    assert caught.value.failed.verdict is DownloadVerdict.DOWNLOAD_FAILED
    assert download.pauses == [2, 4, 8]


def test_a_volume_that_is_too_small_fails_before_the_download(
    download: Download, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage(free=1_000_000))
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        with pytest.raises(NoModel, match=r"needs 2\.0 MB, but the volume has 1\.0 MB free") as caught:
            download.from_hub(hub.url)
        assert not any("/resolve/" in request.path for request in hub.seen)
    assert caught.value.failed.verdict is DownloadVerdict.INSUFFICIENT_STORAGE


@pytest.mark.parametrize(
    "body",
    [b"<html>", b"[]", b"{}", b'{"sha": "c0ffee", "siblings": [{"rfilename": "config.json"}]}', b"[" * 100_000],
)
def test_a_response_that_is_not_from_a_hub_is_not_retried(body: bytes) -> None:
    with (
        serving(lambda _: Answer(content=body)) as url,
        closing(HubSource("hf://owner/name: ", "owner/name", None, Hub(url, None))) as source,
        pytest.raises(NoModel) as caught,
    ):
        source.list()
    words = f"hf://owner/name: the response of {url} is not from a Hugging Face hub"
    assert caught.value.failed.message.startswith(words)


@pytest.mark.parametrize("name", ["../config.json", "/etc/config.json", "a/../../b.json", "a\\b.json", "a//b.json"])
def test_a_listing_that_leads_out_of_the_directory_is_refused(download: Download, tmp_path: Path, name: str) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        repository = hub.repositories["owner/name"]
        files = {**repository.files, name: repository.files["config.json"]}
        object.__setattr__(repository, "files", files)
        with pytest.raises(NoModel, match=r"the name .*nothing was downloaded"):
            download.from_hub(hub.url)
        assert not any("/resolve/" in request.path for request in hub.seen)


@dataclass(frozen=True)
class _Usage:
    free: int


@contextmanager
def _a_closed_port() -> Iterator[int]:
    """A port that is taken, so that nobody else listens there either."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]
