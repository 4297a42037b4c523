"""A download in words and numbers, and when it is slow."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.core.downloads import Download, why_slow
from embedding_runtime.contract import DownloadProgress
from support.builders import NOW

GB, MB = 10**9, 10**6
AGES = st.integers(0, 100_000)
SIZES = st.integers(0, (1 << 50) - 1)


def a_download(done: int, total: int, rate: int, *, age: float | None = 60) -> Download:
    progress = DownloadProgress(done_bytes=done, total_bytes=total, bytes_per_second=rate)
    return Download(progress, None if age is None else NOW - timedelta(seconds=age))


@pytest.mark.parametrize(
    ("done", "total", "rate", "words"),
    [
        (585 * MB, 1300 * MB, 90 * MB, "45% of 1.3 GB, 90 MB/s, 8 seconds left"),
        (0, 417 * MB, 0, "0% of 417 MB, no data at the moment"),
        (416 * MB, 417 * MB, MB, "99% of 417 MB, 1.0 MB/s, 1 second left"),
        (417 * MB, 417 * MB, 0, "100% of 417 MB"),
        (5 * GB, 130 * GB, 9 * MB, "3% of 130 GB, 9.0 MB/s, 3 hours left"),
        (5 * GB, 15 * GB, 40 * MB, "33% of 15 GB, 40 MB/s, 4 minutes left"),
        (0, 900 * GB, 10_000, "0% of 900 GB, 10 kB/s, 1041 days left"),
        (12 * MB, 0, 3 * MB, "12 MB so far, 3.0 MB/s"),
        (900, 2_000, 7, "45% of 2.0 kB, 7 bytes/s, 2 minutes left"),
        (2 * GB, GB, MB, "100% of 1.0 GB"),
    ],
)
def test_a_download_in_words(done: int, total: int, rate: int, words: str) -> None:
    assert str(a_download(done, total, rate)) == words


DEADLINE = 900
LONGER = "it takes longer than spec.rollout.progressDeadlineSeconds (900)"


@pytest.mark.parametrize(
    ("download", "why"),
    [
        (a_download(0, 13 * GB, 10 * MB), LONGER),
        (a_download(0, 9 * GB, 10 * MB), None),
        (a_download(0, 9 * GB + 1, 10 * MB), LONGER),
        (a_download(0, 61 * MB, MB - 1), "the rate is below 1.0 MB/s"),
        (a_download(0, 61 * MB, MB), None),
        (a_download(0, 50 * MB, MB - 1), None),
        (a_download(GB, 2 * GB, 0), "no data has arrived for several seconds"),
        (a_download(GB, GB, 0), None),
        (a_download(GB, 0, 1), None),
        (a_download(GB, 2 * GB, 0, age=29), None),
        (a_download(0, 13 * GB, 10 * MB, age=29), None),
        (a_download(0, 13 * GB, 10 * MB, age=None), None),
    ],
)
def test_a_download_is_slow_if_it_takes_too_long_or_gets_too_little_once_it_has_begun(
    download: Download, why: str | None
) -> None:
    assert why_slow(download, DEADLINE, NOW) == why


@given(SIZES, SIZES, SIZES, AGES)
def test_whatever_a_pod_reports_the_numbers_stay_within_their_bounds(
    done: int, total: int, rate: int, age: int
) -> None:
    download = a_download(done, total, rate, age=age)
    assert download.percent is None or 0 <= download.percent <= 100
    assert download.seconds_left is None or 0 <= download.seconds_left < 1 << 50
    assert len(str(download)) < 80
    why_slow(download, DEADLINE, NOW)


@given(SIZES, SIZES)
def test_a_download_is_complete_only_when_every_byte_is_there(done: int, total: int) -> None:
    assert (a_download(done, total, 1).percent == 100) == (0 < total <= done)
