from pathlib import Path

import pytest
from pydantic import ValidationError

from bench.operator.ranges import Range, Ranges, judge, load
from bench.operator.results import Phase
from bench.operator.table import WORDS

SIXTY = Ranges({"create": {"level_seconds": Range(max=60)}})


def a_phase(name: str = "create", services: int = 1000, **figures: float | None) -> Phase:
    return Phase(name=name, services=services, figures=figures)


def met(ranges: Ranges, *phases: Phase) -> list[bool]:
    return [each.met for each in judge(ranges, phases)]


def test_a_figure_at_its_limit_is_met() -> None:
    assert met(SIXTY, a_phase(level_seconds=60)) == [True]


def test_a_figure_above_its_limit_is_missed() -> None:
    assert met(SIXTY, a_phase(level_seconds=60.1)) == [False]


def test_a_figure_that_was_not_reached_is_missed() -> None:
    assert met(SIXTY, a_phase(level_seconds=None)) == [False]


def test_a_figure_without_a_range_is_not_judged() -> None:
    assert met(SIXTY, a_phase(cpu_seconds=1000)) == []


def test_a_range_is_for_its_own_phase() -> None:
    assert met(SIXTY, a_phase("restart", level_seconds=61)) == []


def test_a_range_at_a_number_of_services_is_not_for_others() -> None:
    ranges = Ranges({"create": {"level_seconds": Range(max=60, at=1000)}})

    assert met(ranges, a_phase(level_seconds=61), a_phase(services=3000, level_seconds=61)) == [False]


def test_a_verdict_names_phase_figure_value_and_limit() -> None:
    [verdict] = judge(SIXTY, [a_phase(level_seconds=61.25)])

    assert str(verdict) == "create, 1,000 services, level_seconds: 61.25, ≤ 60"


def test_the_range_file_limits_figures_that_there_are() -> None:
    ranges = load()

    assert {figure for each in ranges.root.values() for figure in each} <= set(WORDS)


@pytest.mark.parametrize("text", ["create: {level_seconds: {most: 60}}", "create: {level_seconds: 60}"])
def test_a_file_that_describes_no_ranges_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "ranges.yaml").write_text(text)

    with pytest.raises(ValidationError):
        load(tmp_path / "ranges.yaml")
