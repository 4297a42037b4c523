from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.storage.journal import Journal

spans = st.tuples(st.integers(0, 20), st.integers(1, 10)).map(lambda each: (each[0], each[0] + each[1]))
processes = st.lists(st.tuples(st.lists(spans), st.integers(0, 5)), max_size=4)
"""For each process the ranges that it wrote, and how many bytes of the journal were lost when it was killed."""


def bytes_in(journal: Journal, name: str) -> set[int]:
    return {byte for start, stop in journal.spans(name) for byte in range(start, stop)}


def test_each_process_continues_what_the_one_before_wrote(tmp_path: Path) -> None:
    for number in range(4):
        with closing(Journal(tmp_path / "journal", "plan")) as journal:
            assert journal.is_new == (number == 0)
            assert bytes_in(journal, "a") == set(range(number))
            journal.add("a", number, number + 1)


def test_another_plan_begins_anew(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal", "plan")) as journal:
        journal.add("a", 0, 1)
    with closing(Journal(tmp_path / "journal", "another")) as journal:
        assert journal.is_new
        assert journal.spans("a") == []


def test_a_damaged_file_is_forgotten(tmp_path: Path) -> None:
    with closing(Journal(tmp_path / "journal", "plan")) as journal:
        journal.add("a", 0, 9)
        journal.add("b", 0, 9)
        journal.forget("a")
    with closing(Journal(tmp_path / "journal", "plan")) as journal:
        assert (journal.spans("a"), journal.spans("b")) == ([], [(0, 9)])


@given(processes)
def test_no_byte_is_recorded_that_was_not_written(
    tmp_path_factory: pytest.TempPathFactory, killed: list[tuple[list[tuple[int, int]], int]]
) -> None:
    path, written = tmp_path_factory.mktemp("journal") / "journal", set[int]()
    for ranges, lost in killed:
        with closing(Journal(path, "plan")) as journal:
            assert bytes_in(journal, "a") <= written
            for start, stop in ranges:
                journal.add("a", start, stop)
                written |= set(range(start, stop))
        content = path.read_bytes()
        path.write_bytes(content[: len(content) - lost])
