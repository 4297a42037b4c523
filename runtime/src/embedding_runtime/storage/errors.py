"""Errors of a download.

NoModel       final: an exit code, and the verdict that the operator reads from the last line of the log
Interrupted   one request failed, and may succeed if it is repeated
RangeIgnored  the server has no ranges of a file: it must be read as a whole
"""

from embedding_runtime.contract import DownloadVerdict, FailedDownload

__all__ = ["Interrupted", "NoModel", "RangeIgnored"]


class NoModel(Exception):
    """The model cannot be downloaded. `failed` says why and what to change."""

    def __init__(self, verdict: DownloadVerdict, message: str, *, resumable: bool = False) -> None:
        super().__init__(message)
        self.failed = FailedDownload(verdict, message)
        self.resumable = resumable
        """A later attempt may succeed, and can use what this one has downloaded."""


class Interrupted(Exception):
    """A request failed for a reason that may pass: a broken connection, a busy server, damaged bytes."""

    def __init__(self, message: str, retry_after: float | None = None, server: str | None = None) -> None:
        super().__init__(message)
        self.server = server
        """The redirect target or proxy that failed; None: the source's own server."""
        self.retry_after = retry_after
        """Seconds that the server asks to wait."""


class RangeIgnored(Exception):
    """A server that was asked for a range of a file sends the whole file."""
