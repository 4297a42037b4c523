"""http:// and https://: archives and single files of a web server."""

import hashlib
import io
import re
import shutil
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

import pytest

from embedding_runtime.contract import MODEL_NOTE, RETRY_IS_USELESS, DownloadVerdict, HttpUri
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.journal import Journal
from embedding_runtime.storage.progress import Meter
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.sources.http import HttpSource, open_source
from embedding_runtime.storage.transfer import Transfer
from support.initializer import A_POINTER, MODEL, files_of, initialize, start_initializer
from support.scripted_server import Answer, Asked, serving
from support.web_server import WebServer


def a_tar(files: Mapping[str, bytes] = MODEL, top: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(top + name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def a_proxy() -> Iterator[tuple[str, list[Asked]]]:
    """Its URL, and the requests to it. It answers them itself."""
    seen: list[Asked] = []

    def answer(asked: Asked) -> Answer:
        seen.append(asked)
        return a_range()

    with serving(answer) as url:
        yield url, seen


@contextmanager
def a_server_that_sends(parts: Iterable[bytes]) -> Iterator[str]:
    """Its URL. It answers one request, until all parts are sent or the client hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with server.accept()[0] as connection, suppress(OSError):
                connection.recv(1 << 16)
                for part in parts:
                    connection.sendall(part)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.fixture
def web(tmp_path: Path) -> Path:
    (tmp_path / "web").mkdir()
    return tmp_path / "web"


@pytest.mark.parametrize("top", ["", "./", "minilm/", "./minilm/"])
def test_a_model_is_unpacked_from_an_archive_whether_or_not_it_has_a_directory(
    web: Path, tmp_path: Path, top: str
) -> None:
    archive = a_tar({**MODEL, "onnx/model.onnx": b"graph"}, top)
    (web / "model.tar").write_bytes(archive)
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/model.tar#sha256={sha256(archive)}", tmp_path / "mnt/models")
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "mnt") == {f"models/{name}": content for name, content in MODEL.items()}
    assert outcome.last_line.endswith("/s), 5 files")


def test_what_a_mac_adds_to_an_archive_is_left_out(web: Path, tmp_path: Path) -> None:
    inside = {f"minilm/{name}": content for name, content in MODEL.items()}
    added = dict.fromkeys([".DS_Store", "._minilm", "__MACOSX/minilm/._config.json", "minilm/.DS_Store"], b"")
    (web / "model.tar").write_bytes(a_tar({**inside, **added}))
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/model.tar", tmp_path / "models")
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


def test_a_wrong_digest_is_refused_at_the_second_time(web: Path, tmp_path: Path) -> None:
    (web / "model.tar").write_bytes(a_tar())
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/model.tar#sha256={'0' * 64}", tmp_path / "mnt/models")
        assert len(server.seen) == 1 + 2
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith("ChecksumMismatch: ")
    assert f"the checksum of model.tar is sha256 {sha256(a_tar())}, but {'0' * 64} is listed" in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_an_archive_that_is_not_one_is_refused(web: Path, tmp_path: Path) -> None:
    (web / "model.zip").write_bytes(b"<html>Please log in</html>")
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/model.zip", tmp_path / "mnt/models")
        uri = f"{server.url}/model.zip"
    assert outcome.code == 1
    assert outcome.last_line.startswith(f"DownloadFailed: {uri}: model.zip is damaged, or not of the format")
    assert list((tmp_path / "mnt").iterdir()) == []


def test_limits_of_archives_come_from_the_environment(web: Path, tmp_path: Path) -> None:
    (web / "model.tar").write_bytes(a_tar())
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/model.tar", tmp_path / "models", environ={"ARCHIVE_MAX_FILES": "4"})
    assert "model.tar has more than 4 files: raise ARCHIVE_MAX_FILES" in outcome.last_line


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"README.md": b""}, "is not a model: model.tar has neither config.json nor modules.json"),
        ({**MODEL, "tokenizer.json": A_POINTER}, "is not a complete model: "),
    ],
)
def test_what_is_in_the_archive_must_be_a_model(
    web: Path, tmp_path: Path, files: Mapping[str, bytes], words: str
) -> None:
    (web / "model.tar").write_bytes(a_tar(files))
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/model.tar", tmp_path / "mnt/models")
    assert outcome.last_line.startswith("ModelNotFound: ")
    assert words in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_single_file_is_put_into_the_directory(web: Path, tmp_path: Path) -> None:
    (web / "a file.safetensors").write_bytes(MODEL["model.safetensors"])
    with WebServer(web) as server:
        outcome = initialize(f"{server.url}/a%20file.safetensors", tmp_path / "models")
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == {"a file.safetensors": MODEL["model.safetensors"]}


def test_the_header_from_the_environment_is_sent_and_not_shown(web: Path, tmp_path: Path) -> None:
    (web / "model.tar").write_bytes(a_tar())
    with WebServer(web, authorization="Bearer hush-hush") as server:
        uri = f"{server.url}/model.tar"
        refused = initialize(uri, tmp_path / "models")
        outcome = initialize(uri, tmp_path / "models", environ={"HTTP_AUTHORIZATION": "Bearer hush-hush"})
    assert refused.last_line.startswith(f"ModelUnauthorized: {uri}: the server answered 401 Unauthorized; ")
    assert "set HTTP_AUTHORIZATION" in refused.last_line
    assert outcome.code == 0
    assert "hush-hush" not in outcome.log


def test_a_signature_in_the_address_is_neither_shown_nor_noted(web: Path, tmp_path: Path) -> None:
    (web / "model.tar").write_bytes(a_tar())
    with WebServer(web) as server:
        host = server.url.removeprefix("http://")
        outcome = initialize(f"http://user:hush@{host}/model.tar?signature=hush", tmp_path / "models")
        missing = initialize(f"http://user:hush@{host}/gone.tar?signature=hush", tmp_path / "other")
        assert {authorization for authorization, _ in server.seen} == {"Basic dXNlcjpodXNo"}
    assert outcome.code == 0
    assert missing.last_line.startswith(f"ModelNotFound: http://{host}/gone.tar: the server answered 404 Not Found")
    assert "hush" not in outcome.log + missing.log + (tmp_path / "models" / MODEL_NOTE).read_text()


@contextmanager
def a_source(answer: Callable[[Asked], Answer], environ: Mapping[str, str] | None = None) -> Iterator[HttpSource]:
    with serving(answer) as url, closing(open_source(HttpUri(f"{url}/model.tar"), environ or {})) as source:
        yield source


def a_range(content: bytes = b"0", of: str = "0-0/9", etag: str = '"1"') -> Answer:
    return Answer(206, {"Content-Range": f"bytes {of}", "ETag": etag}, content)


OTHER = Answer(206, {"Content-Range": "bytes 0-8/9"}, b"other one")


@pytest.mark.parametrize(("host", "expected"), [("127.0.0.1", "Bearer hush"), ("localhost", None)])
def test_only_a_redirect_to_the_same_server_gets_the_header(host: str, expected: str | None) -> None:
    seen = {}

    def answer(asked: Asked) -> Answer:
        seen[asked.path] = asked.headers.get("Authorization")
        if asked.path == "/moved":
            return a_range()
        return Answer(302, {"Location": f"http://{host}:{asked.headers['Host'].rpartition(':')[2]}/moved"})

    with a_source(answer, {"HTTP_AUTHORIZATION": "Bearer hush"}) as source:
        assert source.list().files["model.tar"].size == 9
    assert seen == {"/model.tar": "Bearer hush", "/moved": expected}


def test_the_password_of_a_proxy_is_sent_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_proxy() as (url, seen):
        monkeypatch.setenv("HTTP_PROXY", url.replace("://", "://me:h%75sh@"))
        with closing(open_source(HttpUri("http://files.example/model.tar"), {})) as source:
            source.list()
    assert seen[0].path == "http://files.example/model.tar"
    assert seen[0].headers["Proxy-Authorization"] == "Basic bWU6aHVzaA=="
    assert seen[0].headers["Authorization"] is None


def test_redirects_come_to_an_end() -> None:
    with (
        a_source(lambda _: Answer(302, {"Location": "/model.tar"})) as source,
        pytest.raises(Interrupted, match="the server redirects more than 10 times"),
    ):
        source.list()


@pytest.mark.parametrize("location", ["http://[::1", "http://u:hush@h:99999999/x?hush"])
def test_a_redirect_to_what_is_no_address_is_reported_and_not_shown(location: str) -> None:
    with a_source(lambda _: Answer(302, {"Location": location})) as source, pytest.raises(Interrupted) as caught:
        source.list()
    assert "redirects to an address that is not valid" in str(caught.value)
    assert "hush" not in str(caught.value)


def failure(url: str) -> str:
    """The last message about a file that is downloaded."""
    said: list[str] = []
    with closing(open_source(HttpUri(f"{url}/a"), {})) as source, pytest.raises(NoModel) as caught:
        Retries(said.append, lambda _: None).run(source.list, source)
    return str(caught.value)


def test_a_dead_server_that_is_redirected_to_is_named() -> None:
    with serving(lambda _: Answer(302, {"Location": "http://127.0.0.1:1/a?signature=hush"})) as url:
        message = failure(url)
    assert "failed at http://127.0.0.1:1: the connection failed" in message
    assert "hush" not in message


@pytest.mark.parametrize(
    ("status", "words"), [(503, "failed at {}: the server answered 503"), (403, ": {} answered 403 Forbidden")]
)
def test_a_server_that_is_redirected_to_is_named_if_it_refuses(status: int, words: str) -> None:
    with (
        serving(lambda _: Answer(status)) as target,
        serving(lambda _: Answer(302, {"Location": f"{target}/a"})) as url,
    ):
        assert words.format(target) in failure(url)


def test_a_dead_proxy_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:hush@127.0.0.1:1")
    message = failure("http://files.example")
    assert "failed at http://files.example through the proxy http://127.0.0.1:1: the connection failed" in message
    assert "hush" not in message


def test_the_cause_of_a_broken_connection_is_cut_if_it_is_long() -> None:
    with (
        a_server_that_sends([b"x" * 60_000 + b"\r\n\r\n"]) as url,
        closing(open_source(HttpUri(f"{url}/a"), {})) as source,
        pytest.raises(Interrupted) as caught,
    ):
        source.list()
    assert "x" * 900 in str(caught.value)
    assert len(str(caught.value)) < 1100


def test_a_head_that_arrives_byte_by_byte_is_not_waited_for_longer_than_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds, asked = count(step=20), threading.Semaphore(0)

    def monotonic() -> float:
        """Each read takes 20 seconds, and gets one byte."""
        asked.release()
        return next(seconds)

    monkeypatch.setattr("embedding_runtime.storage.connections.monotonic", monotonic)
    head = b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-0/9\r\nContent-Length: 1\r\n\r\n0"
    parts = (bytes([byte]) for byte in takewhile(lambda _: asked.acquire(timeout=5), head))
    with a_server_that_sends(parts) as url, closing(open_source(HttpUri(f"{url}/a"), {})) as source:
        with pytest.raises(Interrupted, match="the head of the response did not arrive within 60 seconds"):
            source.list()
        asked.release(len(head))


def test_a_password_may_have_any_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_proxy() as (url, seen):
        monkeypatch.setenv("HTTP_PROXY", url.replace("://", "://me:%E2%82%AC@"))
        with closing(open_source(HttpUri("http://me:%E2%82%AC@files.example/model.tar"), {})) as source:
            source.list()
    assert seen[0].headers["Authorization"] == "Basic bWU64oKs"
    assert seen[0].headers["Proxy-Authorization"] == "Basic bWU64oKs"


@pytest.mark.parametrize("date", ["Fri, 31 Dec 99999999999999999999 23:59:59 GMT", "9" * 400])
def test_a_time_to_wait_that_is_none_does_not_end_in_an_error_of_ours(date: str) -> None:
    with a_source(lambda _: Answer(503, {"Retry-After": date})) as source, pytest.raises(Interrupted, match="503"):
        source.list()


def test_a_server_without_ranges_is_read_from_the_beginning() -> None:
    with a_source(lambda _: Answer(content=b"0123456789")) as source:
        (file,) = source.list().files.values()
        assert (file.size, file.has_ranges) == (10, False)
        assert b"".join(source.read(file, 0, 10)) == b"0123456789"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {"Transfer-Encoding": "chunked"}, b"1\r\n0\r\n0\r\n\r\n"),
        a_range(of="0-0/*"),
        Answer(206, {"Content-Range": "items 0-0/x"}, b"0"),
        a_range(of=f"0-0/{'9' * 5000}"),
    ],
)
def test_a_file_of_unknown_size_is_refused(answer: Answer) -> None:
    with a_source(lambda _: answer) as source, pytest.raises(NoModel, match="does not say how large"):
        source.list()


def test_ranges_of_two_versions_are_not_mixed() -> None:
    etags = iter(['"old"', '"new"'])
    with a_source(lambda _: a_range(etag=next(etags))) as source:
        (file,) = source.list().files.values()
        with pytest.raises(NoModel, match="the file changed while it was downloaded"):
            list(source.read(file, 0, 9))


def test_a_part_without_an_etag_is_not_mixed_in() -> None:
    answers = iter([a_range(), OTHER])
    with a_source(lambda _: next(answers)) as source:
        (file,) = source.list().files.values()
        with pytest.raises(NoModel, match="a part of the file came without an ETag"):
            list(source.read(file, 0, 9))


def test_a_part_without_an_etag_is_read_if_a_digest_verifies_the_file() -> None:
    answers = iter([a_range(), OTHER])
    with serving(lambda _: next(answers)) as url, closing(open_source(HttpUri(f"{url}/a", "0" * 64), {})) as source:
        (file,) = source.list().files.values()
        assert b"".join(source.read(file, 0, 9)) == OTHER.content


def test_a_server_that_ignores_ranges_sends_a_large_file_once(tmp_path: Path) -> None:
    size, sent = 70 << 20, []

    def answer(asked: Asked) -> Answer:
        if asked.headers["Range"] == "bytes=0-0":
            return a_range(of=f"0-0/{size}")
        sent.append(asked.headers["Range"])
        return Answer(200, {"ETag": '"1"'}, bytes(size))

    with a_source(answer) as source, closing(Journal(tmp_path / "journal", "")) as journal:
        (file,) = source.list().files.values()
        meter = Meter(file.size)
        transfer = Transfer(source, tmp_path, journal, meter, Retries(lambda _: None, lambda _: None))
        digests = transfer.run([file])
    assert digests == {"model.tar": sha256(bytes(size))}
    assert sent[-1] == f"bytes=0-{size - 1}"
    assert len(sent) <= 3 + 1, "each part finds out, and then the file is read as a whole"
    assert meter.done == size


def test_another_range_than_the_one_asked_for_is_not_used() -> None:
    with a_source(lambda _: a_range()) as source:
        (file,) = source.list().files.values()
        with pytest.raises(Interrupted, match="asked for bytes 5-8, got bytes 0-0/9"):
            list(source.read(file, 5, 9))


def test_a_file_that_is_shorter_than_listed_is_refused_at_the_second_time(web: Path, tmp_path: Path) -> None:
    (web / "model.tar").write_bytes(a_tar())
    pauses: list[float] = []
    with WebServer(web) as server, closing(open_source(HttpUri(f"{server.url}/model.tar"), {})) as source:
        (file,) = source.list().files.values()
        file = replace(file, etag=None)
        (web / "model.tar").write_bytes(a_tar()[:1000])
        with closing(Journal(tmp_path / "journal", "")) as journal:
            retries = Retries(lambda _: None, pauses.append)
            transfer = Transfer(source, tmp_path, journal, Meter(file.size), retries)
            with pytest.raises(NoModel) as caught:
                transfer.run([file])
    assert caught.value.failed.verdict is DownloadVerdict.CHECKSUM_MISMATCH
    assert f"model.tar has 1000 bytes, but {len(a_tar())} are listed, twice" in caught.value.failed.message
    assert len(pauses) == 1


@pytest.mark.slow
def test_memory_is_bounded_for_ten_gigabytes(web: Path, tmp_path: Path) -> None:
    if shutil.disk_usage(tmp_path).free < 25 << 30:
        pytest.skip("needs 25 GiB of free space")
    with (web / "model.safetensors").open("wb") as stream:
        stream.truncate(10 << 30)  # a hole, which takes no space here, but does where it is downloaded to
    into, peak = tmp_path / "models", 0
    with (
        WebServer(web) as server,
        start_initializer(f"{server.url}/model.safetensors", into) as process,
    ):
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) << 10) if found else peak
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.2)
        log = process.stderr.read() if process.stderr else ""
    size = (into / "model.safetensors").stat().st_size if into.exists() else 0
    shutil.rmtree(into, ignore_errors=True)
    assert process.returncode == 0, log
    assert size == 10 << 30
    assert 0 < peak < 300 << 20
