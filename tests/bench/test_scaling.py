"""The tables of bench.scaling and bench.lanes, from given figures."""

from pathlib import Path

import pytest

from bench.lanes import Lanes
from bench.lanes import table as lanes_table
from bench.results import Measured
from bench.scaling import IN_PROCESS, Point, table
from bench.systems import EXACT, least_cosine, server
from bench.workloads import Cell

MIXED, ALONE = Cell("mixed", 32, 16), Cell("short", 1, 1)


def measured(cell: Cell, tokens: int, p50: float | None = None) -> Measured:
    """Figures of one second; each text has ten tokens."""
    return Measured(
        workload=cell.workload,
        batch=cell.batch,
        clients=cell.clients,
        seconds=1,
        requests=1,
        texts=tokens // 10,
        tokens=tokens,
        p50=p50,
        p99=p50,
        cpu_seconds=1,
        others=0,
    )


def point(cores: int, tokens: int, number: int = 0) -> Point:
    found = {str(MIXED): measured(MIXED, tokens), str(ALONE): measured(ALONE, 10, 0.005)}
    return Point("a model", "huggingface", cores, number, found)


def test_ratios_are_to_two_cores_in_the_same_round() -> None:
    points = [point(2, 1000), point(4, 1800), point(2, 2000, 1), point(4, 4000, 1)]
    *_, two, four = table(points, [MIXED, ALONE]).splitlines()
    assert two == "| huggingface | 2 | 150 (1,500) | p50 5.0 ms |  |"
    assert four == "| huggingface | 4 | 290 (2,900), 1.90x | p50 5.0 ms |  |"


def test_the_table_shows_failures_and_the_backend_in_process() -> None:
    failed = Point("a model", "vllm", 2, 0, {}, failed="did not start")
    alone = Point("a model", IN_PROCESS, 2, 0, {}, tokens_per_second=12345.0)
    *_, first, second = table([failed, alone], [MIXED]).splitlines()
    assert first == "| vllm | 2 |  | did not start |"
    assert second == "| in process | 2 | (12,345) |  |"


def test_the_table_of_lanes_has_milliseconds_and_ratios_within_rounds() -> None:
    rounds = [
        Lanes("huggingface", (0.005, 0.008), (0.2, 0.3), 10000, 9500, (0.2, 0.4), batch=0.2),
        Lanes("huggingface", (0.005, 0.008), (0.2, 0.5), 5000, 4500, (0.2, 0.4), batch=0.25),
    ]
    assert lanes_table(rounds).splitlines()[-1] == (
        "| huggingface | 5.0 | 8.0 | 200.0 | 400.0 | 225.0 | 1.75 | 7,500 | 0.93 |"
    )


def test_only_servers_of_this_project_take_flags(tmp_path: object) -> None:
    assert server("vllm --workers=2").argv(tmp_path, 1, "float32")[-1] == "--workers=2"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="only huggingface and vllm take flags"):
        server("infinity --workers=2")
    with pytest.raises(ValueError, match="'tei' is not a server"):
        server("tei")


def test_flags_after_a_system_replace_those_that_every_system_gets() -> None:
    argv = server("huggingface --dtype=bfloat16 --workers=2").argv(Path("model"), 80, "float32")
    assert [part for part in argv if part.startswith("--dtype")] == ["--dtype=bfloat16"]
    assert argv[-1] == "--workers=2"


@pytest.mark.parametrize(
    ("system", "least"),
    [
        ("encode", EXACT),
        ("huggingface --workers=2", EXACT),
        ("huggingface --dtype=bfloat16", 0.999),
        ("huggingface --quantize=int8 --minimum_cosine=0.99", 0.99),
    ],
)
def test_vectors_of_low_precision_need_the_cosine_that_the_runtime_asks_for(system: str, least: float) -> None:
    assert least_cosine(system) == least
