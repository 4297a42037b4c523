import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.contract import DownloadVerdict, FailedDownload

NOT_FOUND = FailedDownload(DownloadVerdict.MODEL_NOT_FOUND, "no such repository")


@given(st.sampled_from(DownloadVerdict), st.lists(st.from_regex(r"[^\s]+", fullmatch=True), min_size=1), st.text())
def test_a_verdict_is_read_from_the_end_of_any_log(verdict: DownloadVerdict, words: list[str], before: str) -> None:
    failure = FailedDownload(verdict, " ".join(words))
    assert FailedDownload.from_log(f"{before}\n{failure}\n") == failure


@pytest.mark.parametrize(
    ("log", "failure"),
    [
        ("ModelNotFound: no such repository", NOT_FOUND),
        ("noise\nModelNotFound: no such repository\n\n  \n", NOT_FOUND),
        ("Traceback\nOSError: disk full", FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, "OSError: disk full")),
        ("ModelNotFound:", FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, "ModelNotFound:")),
        ("", FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, "the initializer logged nothing")),
    ],
)
def test_a_log_says_why_there_is_no_model(log: str, failure: FailedDownload) -> None:
    assert FailedDownload.from_log(log) == failure


def test_a_verdict_is_one_line() -> None:
    assert str(FailedDownload(DownloadVerdict.DOWNLOAD_FAILED, "one\n two")) == "DownloadFailed: one two"
