"""What ends a download.

NoModel           an exit code, and the verdict that the operator reads from the last line of the log
"""

from embedding_runtime.contract import DownloadVerdict, FailedDownload

__all__ = ["NoModel"]


class NoModel(Exception):
    """There is no model to serve; `failed` says why, and what to change. Another attempt would end the same."""

    def __init__(self, verdict: DownloadVerdict, message: str) -> None:
        super().__init__(message)
        self.failed = FailedDownload(verdict, message)
