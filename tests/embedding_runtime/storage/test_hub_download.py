import hashlib
import json
import resource
import signal
from pathlib import Path

import pytest

from embedding_runtime.contract import MODEL_NOTE, RETRY_IS_USELESS
from support.fake_hub import FakeHub
from support.initializer import MODEL, a_model, files_of, hub_environment, initialize, start_initializer

TOKEN = "hf_secret"


def test_a_model_is_downloaded_completely_and_nothing_else_remains(tmp_path: Path) -> None:
    served = a_model(tmp_path / "served", {**MODEL, "tf_model.h5": b"tensorflow", ".gitattributes": b""})
    home = tmp_path / "home"
    home.mkdir()
    with FakeHub({"owner/name": served}) as hub:
        outcome = initialize(
            "hf://owner/name", tmp_path / "mnt/models", environ=hub_environment(hub) | {"HOME": str(home)}
        )
    assert outcome.code == 0
    assert files_of(tmp_path / "mnt") == {f"models/{name}": content for name, content in MODEL.items()}
    assert list(home.iterdir()) == []


def test_the_note_in_the_directory_has_the_commit_and_the_digests(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        initialize("hf://owner/name:main", tmp_path / "models", environ=hub_environment(hub))
        commit = hub.repositories["owner/name"].commit
    note = json.loads((tmp_path / "models" / MODEL_NOTE).read_text())
    digests = {
        name: {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()} for name, content in MODEL.items()
    }
    assert note == {"uri": "hf://owner/name:main", "revision": commit, "files": digests}


def test_the_log_has_the_download_and_its_directory(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=hub_environment(hub))
        commit = hub.repositories["owner/name"].commit
    first, last = outcome.log.splitlines()
    assert first == f"downloading 5 files, 2.0 MB, of hf://owner/name at commit {commit}"
    assert last.startswith(f"downloaded hf://owner/name to {tmp_path / 'models'}: 2.0 MB in ")


def test_the_token_reaches_the_hub_with_every_request(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}, token=TOKEN) as hub:
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=hub_environment(hub, TOKEN + "\n"))
    assert outcome.code == 0
    assert {request.authorization for request in hub.seen} == {"right"}


@pytest.mark.parametrize("revision", ["main", "commit"])
def test_a_revision_is_a_branch_or_a_commit(revision: str, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        named = hub.repositories["owner/name"].commit if revision == "commit" else revision
        outcome = initialize(f"hf://owner/name:{named}", tmp_path / "models", environ=hub_environment(hub))
    assert outcome.code == 0


@pytest.mark.parametrize(
    ("uri", "token", "verdict", "words"),
    [
        ("hf://owner/name", None, "ModelNotFound", "or it is private and HF_TOKEN is not set"),
        ("hf://owner/nmae", None, "ModelNotFound", "has no repository owner/nmae"),
        ("hf://owner/nmae", TOKEN, "ModelNotFound", "or it is private and the token in HF_TOKEN has no access"),
        ("hf://owner/name:v9", TOKEN, "ModelNotFound", "has no revision 'v9'"),
        ("hf://owner/words", TOKEN, "ModelNotFound", "is not a model"),
        ("hf://owner/name", "hf_wrong", "ModelUnauthorized", "denied access to owner/name with the token in HF_TOKEN"),
        (
            "hf://owner/name",
            "hf_br\noken",
            "ModelUnauthorized",
            "HF_TOKEN has a character that is not valid in a token",
        ),
        ("hf://owner/gated", TOKEN, "ModelUnauthorized", "is gated"),
    ],
)
def test_missing_and_private_models_are_reported_without_a_retry(
    uri: str, token: str | None, verdict: str, words: str, tmp_path: Path
) -> None:
    model, words_only = a_model(tmp_path / "served"), a_model(tmp_path / "words", {"README.md": b"words"})
    served = {"owner/name": model, "owner/gated": model, "owner/words": words_only}
    with FakeHub(served, token=TOKEN, gated=frozenset({"owner/gated"})) as hub:
        outcome = initialize(uri, tmp_path / "mnt/models", environ=hub_environment(hub, token))
        repeated = [request.path for request in hub.seen if "/resolve/" not in request.path]
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith(f"{verdict}: ")
    assert words in outcome.last_line
    assert "retrying" not in outcome.log
    assert len(repeated) == len(set(repeated))
    assert list((tmp_path / "mnt").iterdir()) == []


@pytest.mark.parametrize("token", [TOKEN, "hf_wrong", "hf_bro\nken_in_two"])
def test_no_token_is_ever_shown(token: str, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}, token=TOKEN) as hub:
        hub.faults.unavailable = 1
        environ = hub_environment(hub, token) | {"HF_DEBUG": "1"}
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=environ)
    assert outcome.code == (0 if token == TOKEN else RETRY_IS_USELESS)
    for secret in token.split("\n"):
        assert secret not in outcome.log


def test_no_password_in_the_hubs_address_is_ever_shown(tmp_path: Path) -> None:
    with FakeHub({}) as hub:
        environ = {"HF_ENDPOINT": hub.url.replace("http://", "http://user:pass-word@"), "HF_DEBUG": "1"}
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=environ)
    assert outcome.code == RETRY_IS_USELESS
    assert "pass-word" not in outcome.log


@pytest.mark.parametrize("endpoint", ["hub.example", "ftp://hub.example", "http://"])
def test_an_endpoint_that_is_not_a_url_is_rejected(endpoint: str, tmp_path: Path) -> None:
    outcome = initialize("hf://owner/name", tmp_path / "models", environ={"HF_ENDPOINT": endpoint})
    assert outcome.code == 1
    assert f"HF_ENDPOINT={endpoint.rstrip('/')} is not a URL of a hub" in outcome.last_line


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    def a_small_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = initialize(
            "hf://owner/name", tmp_path / "mnt/models", environ=hub_environment(hub), before=a_small_disk
        )
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith("InsufficientStorage: hf://owner/name: ")
    assert "the disk is full" in outcome.last_line
    assert "retrying" not in outcome.log
    assert list((tmp_path / "mnt").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_download_ends_at_once_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.stall = 1
        with start_initializer("hf://owner/name", tmp_path / "mnt/models", environ=hub_environment(hub)) as process:
            assert hub.stalling.wait(120)
            process.send_signal(number)
            _, log = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert log.splitlines()[-1] == f"DownloadFailed: stopped by {number.name} before the model was complete"
    assert list((tmp_path / "mnt").iterdir()) == []


def test_after_a_killed_download_the_next_one_starts_clean(tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.faults.stall = 1
        with start_initializer("hf://owner/name", tmp_path / "mnt/models", environ=hub_environment(hub)) as process:
            assert hub.stalling.wait(120)
            process.kill()
        left = [path.name for path in (tmp_path / "mnt").iterdir()]
        outcome = initialize("hf://owner/name", tmp_path / "mnt/models", environ=hub_environment(hub))
    assert [name.startswith(".models.") for name in left] == [True]
    assert outcome.code == 0
    assert files_of(tmp_path / "mnt") == {f"models/{name}": content for name, content in MODEL.items()}
