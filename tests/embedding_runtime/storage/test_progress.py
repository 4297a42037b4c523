import re
import threading

import pytest

from embedding_runtime.storage.progress import Meter, megabytes, progress


def test_it_reports_the_downloaded_part_of_the_total_and_the_rate() -> None:
    meter = Meter(2_000_000)
    meter.add(500_000)
    said, lines = threading.Event(), []

    def say(line: str) -> None:
        lines.append(line)
        said.set()

    with progress(lambda: say(str(meter)), seconds=0.001):
        assert said.wait(60)
    assert re.fullmatch(r"0\.5 MB of 2\.0 MB \(25%\), \d+\.\d MB/s, \d+ seconds left", lines[0])


def test_it_stops_with_its_block() -> None:
    with progress(print):
        pass
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_the_bytes_of_an_earlier_process_count_but_not_for_the_rate() -> None:
    assert str(Meter(2_000_000, 500_000)) == "0.5 MB of 2.0 MB (25%), 0.0 MB/s"


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_rate_is_that_of_the_last_seconds() -> None:
    clock = Clock()
    meter = Meter(10_000_000, 5_000, clock)
    for second in range(100):
        clock.now += 1
        meter.add(1000 if second < 80 else 10)
    assert meter.rate == 10


def test_a_download_that_stalls_has_no_rate_after_a_few_seconds() -> None:
    clock = Clock()
    meter = Meter(10_000_000, 0, clock)
    for _ in range(100):
        clock.now += 0.1
        meter.add(1000)
    clock.now += 10
    assert meter.rate < 200
    clock.now += 1000
    assert meter.rate < 1


def test_the_rate_of_a_file_that_was_wrong_is_not_negative() -> None:
    clock = Clock()
    meter = Meter(10_000_000, 0, clock)
    clock.now += 1
    meter.add(1000)
    clock.now += 7
    meter.add(-1000)
    assert meter.rate == 0


def test_bytes_that_were_wrong_are_taken_back() -> None:
    meter = Meter(2_000_000)
    meter.add(500_000)
    meter.add(-500_000)
    assert str(meter).startswith("0.0 MB of 2.0 MB (0%)")


@pytest.mark.parametrize(("size", "words"), [(0, "0.0 MB"), (90_868_376, "90.9 MB"), (2_000_000_000, "2000.0 MB")])
def test_sizes_are_shown_as_model_hubs_show_them(size: int, words: str) -> None:
    assert megabytes(size) == words


def test_a_bar_is_as_full_as_the_download() -> None:
    meter = Meter(2_000_000)
    meter.add(1_500_000)
    assert meter.bar(8).startswith("━━━━━━── 1.5 MB of 2.0 MB (75%)")
