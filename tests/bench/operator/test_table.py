import pytest

from bench.operator.plan import PHASES
from bench.operator.ranges import Range, Ranges
from bench.operator.results import Phase, Run
from bench.operator.table import BEGIN, END, insert, markdown

RANGES = Ranges({"create": {"level_seconds": Range(max=60, at=1000)}})


def a_run(*phases: Phase) -> Run:
    return Run(started="2026-11-26T10:00:00+00:00", commit="abc", machine="a CPU", idle_minutes=10, phases=phases)


def a_phase(services: int = 1000, foreign: int = 0, **figures: float | None) -> Phase:
    return Phase(name="create", services=services, foreign=foreign, figures=figures, requests={"list pods": 1200})


def rows(*phases: Phase) -> list[str]:
    return markdown(a_run(*phases), RANGES).splitlines()


def test_a_figure_has_a_row_and_a_number_of_services_a_column() -> None:
    found = rows(a_phase(level_seconds=50.26), a_phase(3000, level_seconds=110))

    assert "|  | range | 1,000 | 3,000 |" in found
    assert "| all level after, s | ≤ 60 at 1,000 | 50.3 | 110 |" in found


def test_objects_of_others_stand_in_the_head_of_the_column() -> None:
    assert "|  | range | 1,000 with 20,000 objects of others |" in rows(a_phase(foreign=20000, level_seconds=1))


def test_a_missed_figure_is_bold_and_listed() -> None:
    found = rows(a_phase(level_seconds=61))

    assert "| all level after, s | ≤ 60 at 1,000 | **61** |" in found
    assert "- create, 1,000 services, level_seconds: 61, ≤ 60 at 1,000" in found


def test_a_figure_that_was_not_reached_says_so() -> None:
    assert "| all level after, s | ≤ 60 at 1,000 | **not reached** |" in rows(a_phase(level_seconds=None))


def test_a_figure_without_words_stands_by_its_name() -> None:
    assert "| new_seconds |  | 1 |" in rows(a_phase(new_seconds=1))


@pytest.mark.parametrize("name", PHASES)
def test_every_phase_has_a_title(name: str) -> None:
    assert any(row.startswith("### ") for row in rows(a_phase().model_copy(update={"name": name})))


def test_requests_stand_by_verb_and_resource() -> None:
    assert any("list pods 1,200" in row for row in rows(a_phase(level_seconds=1)))


def test_machine_date_and_commit_stand_above() -> None:
    assert rows(a_phase())[0].startswith("2026-11-26T10:00:00+00:00, commit abc, a CPU; idle for 10 minutes.")


def test_only_what_is_between_the_markers_of_the_page_changes() -> None:
    assert insert(f"before\n{BEGIN}\nold\n{END}\nafter", "new\n") == f"before\n{BEGIN}\nnew\n{END}\nafter"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks the markers"):
        insert("before", "new")
