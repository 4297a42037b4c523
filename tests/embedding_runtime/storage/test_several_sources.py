"""A model and its parts, each from its own URI: KServe's interface takes URIs and directories in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_runtime.contract import RETRY_IS_USELESS, DownloadVerdict, FailedDownload
from support.fake_hub import FakeHub
from support.initializer import MODEL, a_model, files_of, hub_environment, initialize

ADAPTER = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"adapter"}
DENSE = {"config.json": b"{}", "model.safetensors": b"dense"}


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    repositories = {"owner/name": MODEL, "owner/adapter": ADAPTER, "owner/dense": DENSE}
    served = {name: a_model(tmp_path / "served" / name, files) for name, files in repositories.items()}
    with FakeHub(served) as hub:
        yield hub


def test_parts_are_put_into_the_model(hub: FakeHub, tmp_path: Path) -> None:
    models = tmp_path / "mnt/models"
    arguments = ["hf://owner/adapter", models / "adapters/a", "hf://owner/dense", models / "2_Dense"]
    outcome = initialize("hf://owner/name", models, *arguments, environ=hub_environment(hub))
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "mnt") == {
        **{f"models/{name}": content for name, content in MODEL.items()},
        **{f"models/adapters/a/{name}": content for name, content in ADAPTER.items()},
        **{f"models/2_Dense/{name}": content for name, content in DENSE.items()},
    }
    assert not list(models.rglob(".*"))


def test_what_is_there_already_is_kept(hub: FakeHub, tmp_path: Path) -> None:
    arguments = ["hf://owner/name", tmp_path / "models", "hf://owner/dense", tmp_path / "models/2_Dense"]
    initialize(*arguments, environ=hub_environment(hub))
    seen = len(hub.seen)
    outcome = initialize(*arguments, environ=hub_environment(hub))
    assert outcome.code == 0
    assert outcome.log.count("already exists: nothing to do") == 2
    assert len(hub.seen) == seen


def test_all_that_failed_is_in_one_verdict(hub: FakeHub, tmp_path: Path) -> None:
    models = tmp_path / "mnt/models"
    arguments = ["hf://owner/adapter", models / "adapter", "hf://owner/missing", models / "other"]
    outcome = initialize("hf://owner/gone", models, *arguments, environ=hub_environment(hub))
    assert outcome.code == RETRY_IS_USELESS
    failed = FailedDownload.from_log(outcome.log)
    assert failed.verdict is DownloadVerdict.MODEL_NOT_FOUND
    assert "hf://owner/gone: " in failed.message
    assert "hf://owner/missing: " in failed.message
    assert "owner/adapter" not in failed.message
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_part_that_failed_keeps_the_others(hub: FakeHub, tmp_path: Path) -> None:
    models = tmp_path / "mnt/models"
    arguments = ["hf://owner/missing", models / "adapter", "hf://owner/dense", models / "2_Dense"]
    outcome = initialize("hf://owner/name", models, *arguments, environ=hub_environment(hub))
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith("ModelNotFound: hf://owner/missing: ")
    assert {path.name for path in models.iterdir()} >= {"config.json", "2_Dense"}
    assert not (models / "adapter").exists()


def test_the_directory_of_a_part_must_not_be_the_models_own(hub: FakeHub, tmp_path: Path) -> None:
    models = tmp_path / "models"
    arguments = ["hf://owner/name", models, "hf://owner/dense", models / "1_Pooling"]
    outcome = initialize(*arguments, environ=hub_environment(hub))
    assert outcome.code == 1
    assert outcome.last_line == (
        "DownloadFailed: hf://owner/dense: hf://owner/name has 1_Pooling itself: use another directory for one of them"
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hf://owner/dense"], "hf://owner/dense has no DIRECTORY"),
        (["hf://owner/dense", "models"], "a DIRECTORY is given twice"),
    ],
)
def test_wrong_pairs_are_refused(arguments: list[str], words: str) -> None:
    outcome = initialize("hf://owner/name", "models", *arguments)
    assert outcome.code == 2
    assert words in outcome.last_line


def test_an_invalid_uri_of_a_part_is_refused_before_anything_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    arguments = ["hf://owner/name", tmp_path / "models", "hf://dense", tmp_path / "models/2_Dense"]
    outcome = initialize(*arguments, environ=hub_environment(hub))
    assert outcome.code == 2
    assert hub.seen == []
