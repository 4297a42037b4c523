import pytest

from bench.load import Answer, BadAnswers, Window, measured, read_report
from bench.workloads import Cell

REPORT = """\
Running 2s test @ http://127.0.0.1:18080/v1/embeddings
  2 threads and 2 connections
Requests/sec:      1.50
answer 10.000000 10.250000 200 0
answer 10.250000 10.750000 200 1
errors 0 0 0 0
"""


def test_the_report_has_start_end_and_body_of_each_answer() -> None:
    assert read_report(REPORT) == [Answer(10.0, 10.25, 0), Answer(10.25, 10.75, 1)]


def test_an_answer_other_than_200_fails_with_counts_by_status() -> None:
    with pytest.raises(BadAnswers, match="of 3 answers: 1 x status 503"):
        read_report(REPORT + "answer 11.0 11.5 503 2\n")


def test_a_connection_error_fails_with_its_count() -> None:
    with pytest.raises(BadAnswers, match="of 2 answers: 3 x read error"):
        read_report(REPORT.replace("errors 0 0 0 0", "errors 0 3 0 0"))


def test_an_incomplete_report_fails() -> None:
    with pytest.raises(BadAnswers, match="cut off"):
        read_report(REPORT.replace("errors 0 0 0 0\n", ""))


def test_only_answers_that_ended_within_the_window_count() -> None:
    answers = [Answer(0.0, 0.9, 0), Answer(0.9, 1.1, 0), Answer(1.1, 1.5, 1), Answer(1.5, 3.0, 1)]

    figures = measured(
        Cell("mixed", 32, 1), answers, Window(begin=1.0, end=3.0, cpu_seconds=2.5, others=0.1), [500, 700]
    )

    assert (figures.requests, figures.texts, figures.tokens) == (2, 64, 1200)
    assert figures.texts_per_second == 32
    assert figures.cpu_seconds_per_1000_texts == pytest.approx(39.0625)
    assert figures.p50 == pytest.approx(0.2)
    assert figures.p99 == pytest.approx(0.4)


def test_latency_needs_two_answers_per_client() -> None:
    """Slow requests are still in flight when the window ends, so a percentile of the others would be too low."""
    answers = [Answer(1.0, 1.5, 0)] * 15

    figures = measured(Cell("short", 1, 8), answers, Window(begin=1.0, end=3.0, cpu_seconds=2.5, others=0.1), [17])

    assert (figures.p50, figures.p99) == (None, None)
    assert figures.texts == 15
