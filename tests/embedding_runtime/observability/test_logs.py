"""Text and JSON logs: one line per event, without messages of exceptions in processes that see texts."""

import contextvars
import json
import logging

import pytest

from embedding_runtime.contract import LogFormat
from embedding_runtime.frontend.context import request_id
from embedding_runtime.observability import logs

pytestmark = pytest.mark.usefixtures("loggers_as_they_were")

TEXT = "a-text-nobody-may-see"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def fail(text: str) -> None:
    raise ValueError(text)


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogFormat.JSON, sees_texts=True)
    logging.getLogger("embedding_runtime.x").info("of %d\nlines", 2, extra={"fields": {"status": 200}})
    entry = json.loads(one_line(capsys))
    assert entry.pop("ts").endswith("+00:00")
    assert entry == {"level": "info", "logger": "embedding_runtime.x", "message": "of 2\nlines", "status": 200}


def test_log_lines_within_a_request_have_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogFormat.TEXT, sees_texts=True)

    def within_a_request() -> None:
        logs.REQUEST_ID.set("abc")
        logging.getLogger("embedding_runtime").info("well")

    contextvars.copy_context().run(within_a_request)
    assert one_line(capsys).endswith("well request_id=abc")


@pytest.mark.parametrize("log_format", LogFormat)
def test_an_exception_is_logged_without_its_message(capsys: pytest.CaptureFixture[str], log_format: LogFormat) -> None:
    logs.configure(log_format, sees_texts=True)
    try:
        fail(TEXT)
    except ValueError:
        logging.getLogger("embedding_runtime").exception("a fault")
    out = capsys.readouterr().err
    assert [word for word in ("test_logs.py", "in fail", "ValueError") if word not in out] == []
    assert TEXT not in out


def test_the_worker_which_sees_no_texts_quotes_its_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogFormat.JSON, sees_texts=False)
    try:
        fail("out of cheese")
    except ValueError:
        logging.getLogger("embedding_runtime").exception("a fault")
    assert "ValueError: out of cheese" in json.loads(one_line(capsys))["exception"]


def test_the_access_log_has_a_line_per_request_if_it_is_enabled(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogFormat.TEXT, sees_texts=True)
    logs.ACCESS.info("no")
    logs.configure(LogFormat.TEXT, access_log=True, sees_texts=True)
    logs.ACCESS.info("yes")
    assert one_line(capsys).endswith("yes")


@pytest.mark.parametrize("given", [None, "", "a b", "a\nb", "x" * 129, "é"])
def test_an_unsafe_request_id_is_replaced(given: str | None) -> None:
    assert len(request_id(given)) == 32


@pytest.mark.parametrize("given", ["abc-123", "Root=1-67891233-abcdef012345678912345678", "x" * 128])
def test_a_clients_own_id_is_kept(given: str) -> None:
    assert request_id(given) == given
