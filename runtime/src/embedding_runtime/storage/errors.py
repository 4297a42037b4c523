"""Errors of a download.

NoModel           an exit code, and the verdict that the operator reads from the last line of the log
"""

from embedding_runtime.contract import DownloadVerdict, FailedDownload

__all__ = ["NoModel"]


class NoModel(Exception):
    """The model cannot be downloaded. `failed` says why and what to change. A retry cannot succeed."""

    def __init__(self, verdict: DownloadVerdict, message: str) -> None:
        super().__init__(message)
        self.failed = FailedDownload(verdict, message)
