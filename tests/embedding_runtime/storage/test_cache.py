"""`cache URI DIRECTORY`, by harm: real processes that share a directory, are killed, and find garbage or no space."""

import errno
import fcntl
import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_runtime.contract import CODE_VARIABLE, MODEL_NOTE, RETRY_IS_USELESS, parse_uri
from embedding_runtime.storage.cache import Cache
from embedding_runtime.storage.into_cache import path_of
from embedding_runtime.storage.origin import origin_of
from support.fake_hub import FakeHub
from support.initializer import MODEL, Outcome, a_model, files_of, hub_environment, initialize, start_initializer
from support.web_server import WebServer

BRANCH = "hf://owner/name:main"
LARGE: Mapping[str, bytes] = {"config.json": b"0123456789" * 3_300_000}  # sockets buffer less


def cached(root: Path) -> dict[str, dict[str, bytes]]:
    """The files of all models in a cache."""
    return {each.name: files_of(each) for each in (root / "models").iterdir()}


def downloads(hub: FakeHub) -> list[str]:
    """The files that the hub was asked for."""
    return [request.path for request in hub.seen if "/resolve/" in request.path]


def into(root: Path, hub: FakeHub, uri: str = BRANCH, *options: object, **environ: str) -> Outcome:
    return initialize("cache", uri, root, *options, environ=hub_environment(hub) | environ)


def test_a_model_that_is_there_costs_a_listing_and_no_download(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(root, hub).code == 0
        hub.seen.clear()
        outcome = into(root, hub)
        assert [request.path for request in hub.seen] == ["/api/models/owner/name/revision/main"]
    assert outcome.code == 0
    assert " is in the cache: " in outcome.last_line
    assert list(cached(root).values()) == [dict(MODEL)]


def test_a_commit_that_is_there_costs_no_request(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        commit = hub.repositories["owner/name"].commit
        assert into(root, hub).code == 0
        hub.seen.clear()
        outcome = into(root, hub, f"hf://owner/name:{commit}")
        assert hub.seen == []
    assert outcome.code == 0
    assert len(cached(root)) == 1


def test_each_commit_of_a_branch_is_a_model_of_its_own(tmp_path: Path) -> None:
    root, new = tmp_path / "cache", {**MODEL, "config.json": b"{}"}
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(root, hub).code == 0
        hub.push("owner/name", a_model(tmp_path / "new", new))
        assert into(root, hub).code == 0
    assert {each["config.json"] for each in cached(root).values()} == {new["config.json"], MODEL["config.json"]}


def test_a_branch_that_moves_after_it_was_resolved_is_downloaded_at_one_commit(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        before = hub.repositories["owner/name"].commit
        hub.moves["owner/name"] = a_model(tmp_path / "new", {**MODEL, "config.json": b"{}"})
        assert into(root, hub).code == 0
    (model,) = (root / "models").iterdir()
    assert files_of(model) == MODEL
    assert json.loads((model / MODEL_NOTE).read_text())["revision"] == before


def test_two_processes_download_once(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        environ = hub_environment(hub)
        with (
            start_initializer("cache", BRANCH, root, environ=environ) as first,
            start_initializer("cache", BRANCH, root, environ=environ) as second,
        ):
            logs = [process.communicate(timeout=240)[1] for process in (first, second)]
        assert (first.returncode, second.returncode) == (0, 0), logs
        assert len(downloads(hub)) == len(MODEL)
    assert list(cached(root).values()) == [dict(MODEL)]
    assert sorted(" is in the cache: " in log for log in logs) == [False, True]


def test_a_killed_writer_is_followed_by_the_one_that_waits_which_resumes(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served", LARGE)}) as hub:
        hub.faults.stall, environ = 1, hub_environment(hub)
        with start_initializer("cache", BRANCH, root, environ=environ) as first:
            assert hub.stalling.wait(120)
            with start_initializer("cache", BRANCH, root, environ=environ) as second:
                assert second.stderr is not None
                waits = second.stderr.readline()
                first.kill()
                _, log = second.communicate(timeout=240)
    assert re.fullmatch(rf"waiting for \S+-{first.pid}, since \S+ \S+ UTC, which downloads \S+, too\n", waits), waits
    assert second.returncode == 0, log
    assert re.search(r", [1-9][0-9]*\.\d MB of them from an earlier attempt\n", log), log
    assert list(cached(root).values()) == [dict(LARGE)]
    assert list((root / ".staging").iterdir()) == []


def test_a_stopped_writer_is_continued_by_the_next_one(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served", LARGE)}) as hub:
        hub.faults.stall = 1
        with start_initializer("cache", BRANCH, root, environ=hub_environment(hub)) as process:
            assert hub.stalling.wait(120)
            process.terminate()
            _, log = process.communicate(timeout=20)
        assert log.splitlines()[-1].endswith("before the model was complete; run it again to continue")
        assert cached(root) == {}
        outcome = into(root, hub)
    assert " MB of them from an earlier attempt" in outcome.log
    assert list(cached(root).values()) == [dict(LARGE)]


def test_who_waits_says_so_every_minute(tmp_path: Path) -> None:
    said: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 3:
            twice.set()

    cache = Cache(tmp_path, say, seconds=0.01)

    def wait() -> None:
        with cache.lock("model"):
            pass

    with cache.lock("model"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        assert twice.wait(60)
    waiting.join()
    assert all(line.startswith("waiting for ") for line in said)


def test_a_model_is_readable_for_any_user_whatever_the_umask(tmp_path: Path) -> None:
    root = tmp_path / "cache"

    def a_strict_umask() -> None:
        os.umask(0o077)

    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = initialize("cache", BRANCH, root, environ=hub_environment(hub), before=a_strict_umask)
    assert outcome.code == 0
    modes = {each.stat().st_mode & 0o777 for each in (root / "models").rglob("*") if each.is_file()}
    assert modes == {0o644}
    assert {each.stat().st_mode & 0o777 for each in (root / "models").rglob("*") if each.is_dir()} == {0o755}


def test_a_directory_without_versions_is_a_new_model_when_a_file_changes(tmp_path: Path) -> None:
    root, source = tmp_path / "cache", a_model(tmp_path / "source")
    for _ in range(2):
        assert initialize("cache", f"file://{source}", root).code == 0
    assert len(cached(root)) == 1
    a_model(source, {"config.json": b'{"model_type": "bart"}'})
    assert initialize("cache", f"file://{source}", root).code == 0
    assert len(cached(root)) == 2


def test_code_of_other_repositories_makes_another_model(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(root, hub).code == 0
        assert into(root, hub, **{CODE_VARIABLE: "true"}).code == 0
    assert len(cached(root)) == 2


@pytest.mark.parametrize(
    "uri",
    ["hf://Owner/Na.me_1", f"s3://bucket/{'x' * 500}", "https://host/%E2%82%AC-.tar?signature=hush", "file:///"],
)
def test_paths_are_names_that_the_operator_accepts(uri: str) -> None:
    parsed = parse_uri(uri)
    path = path_of(parsed, "1", with_code=False)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9._-]{0,118}[a-z0-9])?", path)
    assert path != path_of(parsed, "2", with_code=False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("hf://owner/name:main", "hf://owner/name@v1"),
        ("ms://owner/name", "ms://owner/name:v1"),
        ("oci://host/name:1", f"oci://host/name@sha256:{'0' * 64}"),
    ],
)
def test_the_revision_is_not_part_of_the_path(one: str, other: str) -> None:
    paths = {path_of(parse_uri(uri), "c0ffee", with_code=False) for uri in (one, other)}
    assert len(paths) == 1


@pytest.mark.parametrize(
    ("uri", "environ", "other"),
    [
        ("hf://a/b", {"HF_ENDPOINT": "http://mirror"}, {}),
        ("hf://a/b", {"HF_ENDPOINT": "http://mirror"}, {"HF_ENDPOINT": "http://mirror2"}),
        ("ms://a/b", {"MODELSCOPE_ENDPOINT": "http://mirror"}, {}),
        ("s3://a/b", {"AWS_ENDPOINT_URL": "http://minio"}, {}),
        ("gs://a/b", {"GOOGLE_BASE_URL": "http://fake"}, {}),
        ("az://a/b", {"AZURE_STORAGE_ACCOUNT_NAME": "one"}, {"AZURE_STORAGE_ACCOUNT_NAME": "two"}),
    ],
)
def test_models_of_two_endpoints_never_share_a_path(
    uri: str, environ: Mapping[str, str], other: Mapping[str, str]
) -> None:
    parsed = parse_uri(uri)
    paths = {path_of(parsed, "1", with_code=False, origin=origin_of(parsed, each)) for each in (environ, other)}
    assert len(paths) == 2


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"HF_ENDPOINT": ""},
        {"HF_ENDPOINT": "https://huggingface.co/"},
        {"AWS_ENDPOINT_URL": "http://minio", "HF_TOKEN": "hush"},
    ],
)
def test_a_model_of_the_scheme_s_own_server_keeps_its_path(environ: Mapping[str, str]) -> None:
    uri = parse_uri("hf://owner/name")
    path = path_of(uri, "c0ffee", with_code=False, origin=origin_of(uri, environ))
    assert path == "hf-owner-name-b2c4bdaf49e27825"


def test_a_hub_that_forges_a_commit_does_not_change_what_others_get_for_it(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        commit = hub.repositories["owner/name"].commit
        with FakeHub({"owner/name": a_model(tmp_path / "forged", {**MODEL, "config.json": b"{}"})}) as forger:
            forger.repositories["owner/name"] = replace(forger.repositories["owner/name"], commit=commit)
            assert into(root, forger, f"hf://owner/name:{commit}").code == 0
        assert into(root, hub, f"hf://owner/name:{commit}").code == 0
    assert dict(MODEL) in cached(root).values()
    assert len(cached(root)) == 2


def test_models_that_were_downloaded_under_another_name_are_not_used(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        for options in ([], ["--source=mirror"], ["--source=mirror"]):
            assert into(root, hub, BRANCH, *options).code == 0
    assert len(cached(root)) == 2


def _truncated(model: Path) -> None:
    (model / "model.safetensors").write_bytes(b"")


def _without_its_note(model: Path) -> None:
    (model / MODEL_NOTE).unlink()


def _with_a_note_of_garbage(model: Path) -> None:
    (model / MODEL_NOTE).write_text('{"revision": 7, "files": {"config.json": 1}}')


def _a_file(model: Path) -> None:
    shutil.rmtree(model)
    model.write_text("garbage")


def _empty(model: Path) -> None:
    """As a kubelet creates it for a pod that mounts a path that is not there."""
    shutil.rmtree(model)
    model.mkdir()


@pytest.mark.parametrize("harm", [_truncated, _without_its_note, _with_a_note_of_garbage, _a_file, _empty])
def test_what_is_not_a_complete_model_is_downloaded_again(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(root, hub).code == 0
        (model,) = (root / "models").iterdir()
        harm(model)
        outcome = into(root, hub)
    assert outcome.code == 0, outcome.log
    assert files_of(model) == MODEL
    assert list((root / ".removed").iterdir()) == []


def test_what_others_left_in_the_directory_stays(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    mine = {"README": b"mine", "models/mine/weights": b"mine", "models/file": b"mine", "lost+found/x": b"mine"}
    a_model(root, mine)
    (root / "models" / "locked").mkdir(mode=0)
    a_model(root, {".staging/@/x": b"", ".staging/.x": b"", ".staging/file": b"", ".removed/old/config.json": b"{}"})
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = into(root, hub, BRANCH, "--capacity=3000000")
    assert outcome.code == 0, outcome.log
    assert mine.items() <= files_of(root).items()
    assert not (root / ".removed" / "old").exists()


def test_a_damaged_model_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served", {"config.json": b"{}"})}) as hub:
        hub.faults.corrupt = 99
        outcome = into(root, hub)
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith("ChecksumMismatch: ")
    assert cached(root) == {}
    assert list((root / ".staging").iterdir()) == []


def _mounted(root: Path, options: str, *arguments: object, hub: FakeHub, before: str = ":") -> Outcome:
    """The initializer with a tmpfs at `root`, in a mount namespace of its own. `before`: shell commands there."""
    if subprocess.run(["unshare", "-rm", "true"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this machine allows no mounts in a user namespace")
    root.mkdir(exist_ok=True)
    script = f'mount -t tmpfs -o {options} tmpfs "$1"; cd "$1"; set -e; {before}; shift; exec "$@"'
    command = [sys.executable, "-m", "embedding_runtime.storage", *map(str, arguments)]
    python = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, "sh", str(root), *command],
        check=False,
        env=python | hub_environment(hub),
        capture_output=True,
        text=True,
        timeout=60,
    )
    return Outcome(done.returncode, done.stderr)


def test_a_volume_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = _mounted(root, "ro", "cache", BRANCH, root, hub=hub)
    assert outcome.code == 1
    assert f"{root}: cannot write: [Errno 30] Read-only file system" in outcome.last_line
    assert f"make the volume writable for user {os.getuid()}" in outcome.last_line


def test_a_volume_that_is_too_small_gets_nothing(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = _mounted(root, "size=2m", "cache", BRANCH, root, hub=hub)
        assert downloads(hub) == []
    assert outcome.code == RETRY_IS_USELESS
    assert re.match(
        r"InsufficientStorage: \S+: it needs 2\.\d MB, and the cache would lack \d\.\d MB of", outcome.last_line
    )


@pytest.mark.parametrize("kept", [False, True])
def test_a_volume_that_is_full_to_the_last_byte_loses_what_nobody_uses(tmp_path: Path, *, kept: bool) -> None:
    root, old = tmp_path / "cache", a_model(tmp_path / "old", {"config.json": bytes(2 << 20)})
    path = path_of(parse_uri(f"file://{old}"), "old", with_code=False)
    fill = (
        f"mkdir -p models .used; cp -r {old} models/{path}; touch -d '2 hours ago' .used/{path}; "
        f"echo '{{}}' > models/{path}/{MODEL_NOTE}; dd if=/dev/zero of=filler 2>/dev/null || :"
    )
    keep = [f"--keep=other,{path}"] if kept else []
    with FakeHub({"owner/name": a_model(tmp_path / "served", {"config.json": bytes(500_000)})}) as hub:
        outcome = _mounted(root, "size=4m", "cache", BRANCH, root, *keep, hub=hub, before=fill)
    if kept:
        assert outcome.code == RETRY_IS_USELESS
        assert "even without the models that may be removed, so none was: enlarge the cache" in outcome.last_line
    else:
        assert outcome.code == 0, outcome.log
        assert f"removed {path} to make room: 2.1 MB, last used 2.0 hours ago" in outcome.log


def test_a_volume_that_fills_up_meanwhile_is_insufficient_and_is_left_clean(tmp_path: Path) -> None:
    root = tmp_path / "cache"

    def a_quota() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = initialize("cache", BRANCH, root, environ=hub_environment(hub), before=a_quota)
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith("InsufficientStorage: ")
    assert list((root / ".staging").iterdir()) == []


def test_where_there_are_no_locks_the_first_to_be_done_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    said: list[str] = []
    cache = Cache(tmp_path, said.append)
    for name in ("one", "two"):
        with cache.lock("model") as staging:
            own = staging.with_name(f"{staging.name}-{name}")
            a_model(own / "model", {"config.json": b"{}", MODEL_NOTE: b'{"files": {"config.json": {"size": 2}}}'})
            assert cache.publish(own, "model").path == "model"
    assert said[-1] == "another process has downloaded model meanwhile"
    assert f"the file system of {tmp_path} has no locks" in said[0]


@pytest.mark.parametrize("target", ["another", "nowhere"])
def test_a_link_in_the_place_of_a_model_is_not_served(tmp_path: Path, target: str) -> None:
    root = tmp_path / "cache"
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(root, hub).code == 0
        (model,) = (root / "models").iterdir()
        shutil.copytree(model, tmp_path / "another")
        (tmp_path / "another" / "tokenizer.json").write_bytes(b'{"version": "2.0"}')  # of the same size
        shutil.rmtree(model)
        model.symlink_to(tmp_path / target)
        assert into(root, hub).code == 0
    assert not model.is_symlink()
    assert files_of(model) == MODEL


@pytest.mark.parametrize("name", ["", "model"])
def test_a_link_in_the_place_of_an_unfinished_model_is_not_written_through(tmp_path: Path, name: str) -> None:
    root, other = tmp_path / "cache", a_model(tmp_path / "other", {"config.json": b"precious"})
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(root, hub).code == 0
        (model,) = (root / "models").iterdir()
        shutil.rmtree(model)
        link = root / ".staging" / model.name / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(other)
        assert into(root, hub).code == 0
    assert files_of(other) == {"config.json": b"precious"}
    assert files_of(model) == MODEL


@pytest.mark.parametrize(
    "note",
    [
        b'{"revision": ""}',
        b'{"revision": "%s"}' % (b"x" * 300),
        b'{"code": []}',
        b'{"evicted": ["other"], "free_bytes": 7}',
        b'{"files": []}',
        b'{"files": {"config.json": 5}}',
        b"[" * 100_000,
    ],
)
def test_a_model_is_cached_whatever_its_publisher_has_put_into_the_note(tmp_path: Path, note: bytes) -> None:
    root, web = tmp_path / "cache", tmp_path / "web"
    web.mkdir()
    with tarfile.open(web / "model.tar", "w") as archive:
        archive.add(a_model(tmp_path / "served", {**MODEL, MODEL_NOTE: note}), ".")
    with WebServer(web) as server:
        outcome = initialize("cache", f"{server.url}/model.tar", root)
    assert outcome.code == 0, outcome.log
    assert list(cached(root).values()) == [dict(MODEL)]
    (model,) = (root / "models").iterdir()
    found = json.loads((model / MODEL_NOTE).read_bytes())
    assert set(found) == {"uri", "files"}


@pytest.mark.parametrize("plant", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")], ids=["pipe", "link"])
def test_a_lock_that_somebody_else_planted_is_neither_waited_for_nor_followed(
    tmp_path: Path, plant: Callable[[Path], None]
) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        assert into(tmp_path / "cache", hub).code == 0
        (lock,) = (
            each for each in (tmp_path / "cache" / ".locks").iterdir() if each.name in cached(tmp_path / "cache")
        )
        lock.unlink()
        plant(lock)
        outcome = into(tmp_path / "cache", hub)
    assert outcome.code == 1
    assert "cannot write" in outcome.log
