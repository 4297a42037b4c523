import threading
from pathlib import Path

import pytest

from embedding_runtime.storage.progress import megabytes, progress, size_of


def test_it_reports_the_downloaded_part_of_the_total(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"0" * 500_000)
    said, lines = threading.Event(), []

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    with progress(tmp_path, 2_000_000, say, seconds=0.001):
        assert said.wait(10)
    assert lines[0] == "0.5 MB of 2.0 MB (25%)"


def test_it_stops_with_its_block(tmp_path: Path) -> None:
    with progress(tmp_path, 0, print):
        pass
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_files_in_directories_count(tmp_path: Path) -> None:
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_bytes(b"12345")
    assert size_of(tmp_path) == 5


@pytest.mark.parametrize(("size", "words"), [(0, "0.0 MB"), (90_868_376, "90.9 MB"), (2_000_000_000, "2000.0 MB")])
def test_sizes_are_shown_as_model_hubs_show_them(size: int, words: str) -> None:
    assert megabytes(size) == words
