import pytest

from bench import goals
from bench.goals import judge
from bench.results import Bound, Health, Machine, Measured, Round, Run, SystemRound, percentile
from bench.table import goals_table, markdown

SPEED = "huggingface, short, 64 clients: speed relative to infinity"


def a_cell(cell: str, *, texts: int = 100, p50: float | None = 0.01) -> Measured:
    workload, batch, clients = cell.split("/")
    return Measured(
        workload=workload,
        batch=int(batch),
        clients=int(clients),
        seconds=1,
        requests=texts,
        texts=texts,
        tokens=texts * 17,
        p50=p50,
        p99=p50,
        cpu_seconds=2,
        others=0.2,
    )


def a_round(**systems: SystemRound) -> Round:
    bound = Bound(gflops={"MKL": 100, "oneDNN": 200}, flop_per_token=20_000_000)  # 10,000 tokens/s
    return Round(bound=bound, systems=systems)


def a_run(*rounds: Round) -> Run:
    machine = Machine(cpu="a CPU", cores=(0, 1), memory_gib=24, kernel="6.1", versions={"Python": "3.11"})
    tokens = {"short": 17.0, "mixed": 52.0}
    return Run(started="2026-03-01T12:00:00", machine=machine, seconds=1, tokens_a_text=tokens, rounds=rounds)


def speeds(ours: int, theirs: int) -> Round:
    return a_round(
        huggingface=SystemRound(cells=(a_cell("short/1/64", texts=ours),)),
        infinity=SystemRound(cells=(a_cell("short/1/64", texts=theirs),)),
    )


def verdict(run: Run, title: str) -> goals.Verdict:
    (found,) = [each for each in judge(run) if each.goal.title == title]
    return found


def test_the_median_of_the_ratios_within_rounds_decides() -> None:
    found = verdict(a_run(speeds(300, 150), speeds(170, 100), speeds(90, 100)), SPEED)

    assert found.found == pytest.approx(1.7)
    assert found.low == pytest.approx(0.9)
    assert found.high == pytest.approx(2.0)
    assert found.met is True


def test_a_ratio_below_the_target_is_not_met() -> None:
    assert verdict(a_run(speeds(150, 100)), SPEED).met is False


def test_a_round_in_which_the_other_system_failed_is_ignored() -> None:
    failed = a_round(
        huggingface=SystemRound(cells=(a_cell("short/1/64"),)), infinity=SystemRound(failed="did not start")
    )

    assert verdict(a_run(failed, speeds(200, 100)), SPEED).found == pytest.approx(2.0)
    assert verdict(a_run(failed), SPEED).met is None


def test_latency_and_start_must_be_below_their_targets() -> None:
    run = a_run(
        a_round(
            huggingface=SystemRound(ready=8.5, cells=(a_cell("short/1/1", p50=0.006),)),
            encode=SystemRound(ready=13, cells=(a_cell("short/1/1", p50=0.012),)),
        )
    )

    assert verdict(run, "huggingface, short, 1 client: p50 relative to encode").found == pytest.approx(0.5)
    assert verdict(run, "huggingface: start").met is True


def test_the_bound_of_a_round_is_the_median_of_each_library() -> None:
    several = [
        Bound(gflops={"MKL": mkl, "oneDNN": onednn}, flop_per_token=7) for mkl, onednn in ((1, 9), (3, 5), (2, 8))
    ]
    assert Bound.middle(several) == Bound(gflops={"MKL": 2, "oneDNN": 8}, flop_per_token=7)


def test_the_share_of_the_bound_refers_to_the_faster_library() -> None:
    run = a_run(a_round(huggingface=SystemRound(cells=(a_cell("short/32/8", texts=500),))))

    found = verdict(run, "huggingface, short, 32 texts per request, 8 clients: share of the bound")

    assert found.found == pytest.approx(500 * 17 / 10_000)


def test_the_share_of_a_cell_refers_to_the_bound_measured_with_it() -> None:
    beside = Bound(gflops={"MKL": 400}, flop_per_token=20_000_000)  # twice the bound of the round
    cells = SystemRound(cells=(a_cell("short/32/8", texts=500),))
    run = a_run(a_round(huggingface=cells).model_copy(update={"bounds": {"short/32/8": beside}}))

    found = verdict(run, "huggingface, short, 32 texts per request, 8 clients: share of the bound")

    assert found.found == pytest.approx(500 * 17 / 20_000)


def test_the_worst_load_decides_about_health() -> None:
    def probed(p99: float) -> Health:
        return Health(workload="short", batch=1, clients=64, probes=100, p50=0.001, p99=p99)

    run = a_run(a_round(vllm=SystemRound(health=(probed(0.004), probed(0.03)))))

    assert verdict(run, "vllm: p99 of /healthz under 64 clients").found == pytest.approx(30)


def test_every_goal_has_a_row_with_target_measurement_and_verdict() -> None:
    rows = goals_table(a_run(speeds(200, 100))).splitlines()

    assert len(rows) == 2 + len(goals.GOALS)
    assert f"| {SPEED} | ≥ 1.6 x | 2.00 x | 2.00 to 2.00 | yes |" in rows
    assert "| vllm: start | ≤ 60 s |  |  | not measured |" in rows


def test_the_page_shows_why_a_system_failed() -> None:
    run = a_run(a_round(infinity=SystemRound(failed="not installed: there is no infinity_emb")))

    page = markdown(run, "run.json", ["run-start.png"])

    assert "| infinity 0.0.78 |  |  |  |  | not installed: there is no infinity_emb |" in page
    assert "oneDNN 200 GFLOP/s" in page


def test_the_page_has_the_share_of_the_cores_that_other_processes_used() -> None:
    page = markdown(a_run(speeds(200, 100)), "run.json", [])

    assert "used 10% of the cores (median of cells; at most 10%)" in page


def test_a_run_survives_json() -> None:
    run = a_run(speeds(200, 100))

    assert Run.model_validate_json(run.model_dump_json()) == run


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([4, 1, 3, 2], 0.5) == 2
    assert percentile([4, 1, 3, 2], 0.99) == 4
    assert percentile([7], 0.5) == 7


def test_the_page_of_a_gpu_names_it_and_has_no_goals() -> None:
    run = a_run(speeds(300, 150))
    on_gpu = run.model_copy(update={"machine": run.machine.model_copy(update={"gpu": "a GPU"}), "dtype": "float16"})

    page = markdown(on_gpu, "raw.json", [])

    assert "# 2026-03-01, a GPU, a CPU, 2 cores" in page
    assert "all-MiniLM-L6-v2 in float16" in page
    assert "## Goals" not in page
    assert "## Goals" in markdown(run, "raw.json", [])


def test_a_page_has_no_section_for_unmeasured_cells() -> None:
    run = a_run(speeds(300, 150))

    assert not run.whole
    page = markdown(run, "raw.json", [])
    assert "## short, one text per request" in page
    assert "## mixed" not in page
    assert "## Plots" not in page
