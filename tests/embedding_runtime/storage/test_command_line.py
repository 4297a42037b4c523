import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_runtime.contract import RETRY_IS_USELESS, DownloadVerdict, FailedDownload
from support.fake_hub import FakeHub
from support.initializer import a_model, files_of, hub_environment, initialize, start_initializer


def test_help_shows_the_addresses_and_examples() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "embedding_runtime.storage", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "hf://owner/name[:revision]" in shown
    assert "examples:" in shown


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("ngc://registry/model", "use a storage container that supports ngc://"),
        ("hf://all-MiniLM-L6-v2", "use hf://owner/name or hf://owner/name:revision"),
        ("https://host/", "use https://host/path/name.tar.gz"),
        ("s3:///model", "use s3://bucket/path"),
        ("pvc://Claim/model", "use pvc://claim/path"),
        ("file://model", "use file:///absolute/path"),
        ("models/minilm", "use scheme://..."),
    ],
)
def test_the_message_for_an_unsupported_uri_has_a_remedy(uri: str, words: str, tmp_path: Path) -> None:
    outcome = initialize(uri, tmp_path / "models")
    assert outcome.code == 2
    assert outcome.last_line.startswith(f"DownloadFailed: '{uri}' ")
    assert words in outcome.last_line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [(), ("hf://owner/name",), ("hf://owner/name", "/mnt/models", "more")])
def test_a_wrong_number_of_arguments_ends_with_a_verdict(arguments: tuple[str, ...]) -> None:
    outcome = initialize(*arguments)
    assert outcome.code == 2
    failed = FailedDownload.from_log(outcome.log)
    assert failed.verdict is DownloadVerdict.DOWNLOAD_FAILED
    assert "usage: URI DIRECTORY" in failed.message


@pytest.mark.parametrize("options", [("--capacity=20Gi",), ("--capacity", "-1"), ("--listed-at=now",), ("--verify",)])
def test_options_of_a_cache_that_are_not_valid_are_named(options: tuple[str, ...], tmp_path: Path) -> None:
    outcome = initialize("cache", "hf://owner/name", tmp_path / "cache", *options)
    assert outcome.code == 2
    assert options[0].partition("=")[0] in outcome.last_line
    assert not (tmp_path / "cache").exists()


def test_an_existing_model_is_kept(tmp_path: Path) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / "config.json").write_text("mine")
    outcome = initialize("hf://owner/name", models)
    assert outcome.code == 0
    assert outcome.last_line == f"{models} already exists: nothing to do"
    assert (models / "config.json").read_text() == "mine"


def test_a_model_is_fetched_by_hand_and_verified(tmp_path: Path) -> None:
    source, models = a_model(tmp_path / "source"), tmp_path / "models"
    outcome = initialize("fetch", "--verify", f"file://{source}", models)
    assert outcome.code == 0, outcome.log
    assert outcome.last_line == f"verified 5 files in {models}"
    (models / "config.json").write_bytes(b"[]")
    (models / "modules.json").write_bytes(b"{}")
    (models / "tokenizer.json").unlink()
    damaged = initialize("fetch", "--verify", f"file://{source}", models)
    assert damaged.code == RETRY_IS_USELESS
    assert damaged.last_line.startswith(
        f"ChecksumMismatch: {models} is damaged: config.json has 2 bytes, not 22; modules.json"
    )
    assert damaged.last_line.endswith("; tokenizer.json is missing; remove the directory and fetch it again")


def test_a_directory_from_elsewhere_cannot_be_verified(tmp_path: Path) -> None:
    outcome = initialize("fetch", "--verify", "hf://owner/name", a_model(tmp_path / "models"))
    assert outcome.code == 1
    assert "its embedding-model.json has no digests" in outcome.last_line


def test_a_download_by_hand_that_was_stopped_is_continued(tmp_path: Path) -> None:
    model = a_model(tmp_path / "served", {"config.json": b"0123456789" * 3_300_000})  # sockets buffer less
    with FakeHub({"owner/name": model}) as hub:
        hub.faults.stall = 1
        arguments = ("fetch", "hf://owner/name", tmp_path / "models")
        with start_initializer(*arguments, environ=hub_environment(hub)) as process:
            assert hub.stalling.wait(120)
            process.send_signal(signal.SIGINT)
            _, log = process.communicate(timeout=20)
        assert process.returncode == 128 + signal.SIGINT
        assert log.splitlines()[-1].endswith("before the model was complete; run it again to continue")
        outcome = initialize(*arguments, environ=hub_environment(hub))
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == files_of(model)
    first = next(line for line in outcome.log.splitlines() if line.startswith("downloading "))
    assert re.search(r", [1-9][0-9]*\.\d MB of them from an earlier attempt$", first), first


def test_an_internal_error_ends_with_a_verdict(tmp_path: Path) -> None:
    broken = (
        "import sys; from embedding_runtime.storage import __main__ as main; main.fetch_all = lambda *_: 1 / 0; "
        f"sys.exit(main.main(['hf://owner/name', {str(tmp_path / 'models')!r}]))"
    )
    ended = subprocess.run([sys.executable, "-c", broken], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
    assert ended.stderr.splitlines()[-1] == "DownloadFailed: hf://owner/name: ZeroDivisionError: division by zero"


def test_it_loads_nothing_of_the_server() -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", "import embedding_runtime.storage.__main__, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    own = {name.split(".")[1] for name in loaded if name.startswith("embedding_runtime.")}
    assert own == {"contract", "git_lfs", "remote_code", "storage"}
    assert {"fastapi", "numpy", "torch", "huggingface_hub"}.isdisjoint(loaded)
