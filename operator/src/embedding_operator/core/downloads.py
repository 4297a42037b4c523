"""How far the download of a model is, in words and numbers, and whether it is slow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from embedding_operator.core.pods import Pod
from embedding_runtime.contract import DownloadProgress

__all__ = ["JUDGED_AFTER", "Download", "downloading", "least_advanced", "why_slow"]

JUDGED_AFTER = timedelta(seconds=30)
"""A download is not called slow before: it begins with lists and small files."""

_SLOWEST = 1_000_000  # bytes per second
_WORTH_A_WARNING = 60  # seconds left, below which the rate does not matter
_UNITS = (("GB", 10**9), ("MB", 10**6), ("kB", 10**3))


@dataclass(frozen=True)
class Download:
    """What a pod reported, and since when its initializer has been running; None: the kubelet has not said."""

    progress: DownloadProgress
    started_at: datetime | None = None

    @property
    def percent(self) -> int | None:
        """Rounded down: 100 only when all bytes are there. None: the initializer does not know the size."""
        total = self.progress.total_bytes
        return min(100 * self.progress.done_bytes // total, 100) if total else None

    @property
    def bytes_left(self) -> int:
        """Zero, too, if the size is not known."""
        return max(self.progress.total_bytes - self.progress.done_bytes, 0)

    @property
    def seconds_left(self) -> int | None:
        """At the present rate, rounded up. None: no size or no rate."""
        rate = self.progress.bytes_per_second
        return -(-self.bytes_left // rate) if rate and self.progress.total_bytes else None

    def __str__(self) -> str:
        """Such as `45% of 1.3 GB, 90 MB/s, 8 seconds left`."""
        rate = self.progress.bytes_per_second
        if self.percent is None:
            parts = [f"{_size(self.progress.done_bytes)} so far"]
        else:
            parts = [f"{self.percent}% of {_size(self.progress.total_bytes)}"]
        if self.percent != 100:  # noqa: PLR2004 complete: what follows is verification
            parts.append(f"{_size(rate)}/s" if rate else "no data at the moment")
        if self.seconds_left:
            parts.append(f"{_duration(self.seconds_left)} left")
        return ", ".join(parts)


def downloading(pods: Iterable[Pod]) -> tuple[Pod, ...]:
    """Those that download a model now."""
    return tuple(pod for pod in pods if pod.initializer.running)


def least_advanced(pods: Iterable[Pod], progress: Mapping[str, DownloadProgress]) -> Download | None:
    """Of pods that download, the one with the smallest part of its model: the last to be ready.

    None: none of them has reported. `progress` is by pod UID.
    """
    known = [Download(progress[pod.uid], pod.initializer.started_at) for pod in pods if pod.uid in progress]
    return min(known, key=lambda each: each.progress.done_bytes / (each.progress.total_bytes or 1 << 50), default=None)


def why_slow(download: Download, deadline_seconds: int, now: datetime) -> str | None:
    """Why a download is slow, as a clause; None: it is not, or it is too early to say.

    `deadline_seconds` is the progress deadline of the rollout.
    """
    started_at, left = download.started_at, download.seconds_left
    if started_at is None or now - started_at < JUDGED_AFTER or not download.bytes_left:
        return None
    if left is None:
        return "no data has arrived for several seconds"
    if left > deadline_seconds:
        return f"it takes longer than spec.rollout.progressDeadlineSeconds ({deadline_seconds})"
    if download.progress.bytes_per_second < _SLOWEST and left > _WORTH_A_WARNING:
        return f"the rate is below {_size(_SLOWEST)}/s"
    return None


def _size(size: int) -> str:
    """With two digits at least, in the units of model hubs: 1.3 GB, 417 MB."""
    unit, factor = next(((unit, factor) for unit, factor in _UNITS if size >= factor), ("bytes", 1))
    amount = size / factor
    return f"{amount:.1f} {unit}" if amount < 10 and factor > 1 else f"{amount:.0f} {unit}"  # noqa: PLR2004 one digit


def _duration(seconds: int) -> str:
    for unit, length, below in (("second", 1, 120), ("minute", 60, 120 * 60), ("hour", 3600, 48 * 3600)):
        if seconds < below:
            number = seconds // length
            return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
    return f"{seconds // 86400} days"
