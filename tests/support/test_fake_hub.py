import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError

import pytest

from support import fake_hub
from support.fake_hub import FakeHub
from support.initializer import a_model

FILES = {"config.json": b"{}", "tokenizer.json": b"0123456789"}


def get(url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, Message, bytes]:
    request = urllib.request.Request(url, headers=dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def test_it_lists_a_repository_at_its_commit(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path, FILES)}) as hub:
        information = json.loads(get(f"{hub.url}/api/models/owner/name?blobs=true")[2])
        tree = json.loads(get(f"{hub.url}/api/models/owner/name/tree/{information['sha']}?recursive=True")[2])
    assert [file["rfilename"] for file in information["siblings"]] == ["config.json", "tokenizer.json"]
    assert [(file["path"], file["size"]) for file in tree] == [("config.json", 2), ("tokenizer.json", 10)]


def test_the_commit_changes_with_the_files(tmp_path: Path) -> None:
    with FakeHub(
        {"a/a": a_model(tmp_path / "a", FILES), "b/b": a_model(tmp_path / "b", {**FILES, "more": b"1"})}
    ) as hub:
        commits = {repository.commit for repository in hub.repositories.values()}
    assert len(commits) == 2


def test_a_file_can_be_downloaded_whole_or_by_range(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path, FILES)}) as hub:
        url = f"{hub.url}/owner/name/resolve/main/tokenizer.json"
        status, headers, nothing = get(url, method="HEAD")
        assert (status, headers["Content-Length"], nothing) == (200, "10", b"")
        assert headers["X-Repo-Commit"] == hub.repositories["owner/name"].commit
        assert get(url)[::2] == (200, b"0123456789")
        assert get(url, {"Range": "bytes=7-"})[::2] == (206, b"789")


@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("api/models/owner/name", None, 401, "RepoNotFound"),
        ("api/models/owner/name", "wrong", 401, None),
        ("api/models/owner/name", "right", 200, None),
        ("api/models/owner/nmae", "right", 404, "RepoNotFound"),
        ("api/models/owner/name/revision/v9", "right", 404, "RevisionNotFound"),
        ("owner/name/resolve/main/config.json", "right", 200, None),
        ("owner/name/resolve/main/nothing", "right", 404, "EntryNotFound"),
        ("owner/gated/resolve/main/config.json", "right", 403, "GatedRepo"),
        ("elsewhere", "right", 404, None),
    ],
)
def test_it_rejects_as_the_real_hub_does(
    path: str, token: str | None, status: int, code: str | None, tmp_path: Path
) -> None:
    directory = a_model(tmp_path, FILES)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with FakeHub(
        {"owner/name": directory, "owner/gated": directory}, token="right", gated=frozenset({"owner/gated"})
    ) as hub:
        answer = get(f"{hub.url}/{path}", headers)
    assert (answer[0], answer[1].get("X-Error-Code")) == (status, code)


def test_it_reports_requests_without_tokens(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path, FILES)}, token="hf_right") as hub:
        get(f"{hub.url}/api/models/owner/name", {"Authorization": "Bearer hf_right"})
        get(f"{hub.url}/api/models/owner/name", {"Authorization": "Bearer hf_other"})
        seen = get(f"{hub.url}/__seen")[2]
    assert [request["authorization"] for request in json.loads(seen)] == ["right", "wrong"]
    assert b"hf_" not in seen


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_as_a_process_it_serves_the_packaged_model_until_it_is_ended(end: signal.Signals) -> None:
    command = [sys.executable, fake_hub.__file__, "--token", "hf_right"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        status, _, body = get(f"{url}/api/models/{fake_hub.MINILM}", {"Authorization": "Bearer hf_right"})
        process.send_signal(end)
    assert process.returncode == 0
    assert status == 200
    assert "model.safetensors" in {file["rfilename"] for file in json.loads(body)["siblings"]}


def test_another_process_can_move_a_branch(tmp_path: Path) -> None:
    first, second = a_model(tmp_path / "a", FILES), a_model(tmp_path / "b", {**FILES, "more": b"1"})
    with FakeHub({"owner/name": first}) as hub:
        old = json.loads(get(f"{hub.url}/api/models/owner/name")[2])["sha"]
        assert get(f"{hub.url}/__main/owner/name?directory={second}")[0] == 200
        new = json.loads(get(f"{hub.url}/api/models/owner/name")[2])["sha"]
        assert old != new
        assert get(f"{hub.url}/owner/name/resolve/{old}/config.json")[::2] == (200, b"{}")
        assert get(f"{hub.url}/owner/name/resolve/{new}/more")[::2] == (200, b"1")


def test_another_process_can_slow_it_down(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path, {"config.json": bytes(1 << 18)})}) as hub:
        assert get(f"{hub.url}/__faults?bytes_per_second={1 << 20}")[0] == 200
        began = time.monotonic()
        get(f"{hub.url}/owner/name/resolve/main/config.json")
        assert time.monotonic() - began > 0.15
