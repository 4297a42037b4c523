from pathlib import Path
from typing import NoReturn

import pytest

from embedding_runtime.storage.staging import staged


def test_a_directory_appears_when_it_is_complete(tmp_path: Path) -> None:
    models = tmp_path / "models"
    with staged(models) as staging:
        (staging / "model" / "config.json").touch()
        assert not models.exists()
    assert [path.name for path in models.iterdir()] == ["config.json"]


def test_other_staged_files_are_deleted(tmp_path: Path) -> None:
    with staged(tmp_path / "models") as staging:
        (staging / "cache").mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_a_fault_leaves_nothing(tmp_path: Path) -> None:
    def half_a_download() -> NoReturn:
        with staged(tmp_path / "models") as staging:
            (staging / "model" / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_a_download()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_target_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    with staged(tmp_path / "models") as staging:
        (staging / "model" / "config.json").touch()
    assert (tmp_path / "models" / "config.json").exists()


def test_leftovers_of_a_killed_attempt_are_deleted(tmp_path: Path) -> None:
    for name in (".models.killed", ".other.killed"):
        (tmp_path / name / "model").mkdir(parents=True)
    with staged(tmp_path / "models"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {".other.killed", "models"}


def test_a_missing_parent_directory_is_created(tmp_path: Path) -> None:
    with staged(tmp_path / "mnt" / "models"):
        pass
    assert (tmp_path / "mnt" / "models").is_dir()


def test_others_may_read_what_was_staged(tmp_path: Path) -> None:
    with staged(tmp_path / "models"):
        pass
    assert (tmp_path / "models").stat().st_mode & 0o055 == 0o055
