"""The token in a file, as our pods have it."""

from pathlib import Path

import pytest

from embedding_runtime.contract import RETRY_IS_USELESS, TOKEN_PATH_VARIABLE
from embedding_runtime.storage.log import secrets_in
from support.fake_hub import FakeHub
from support.initializer import a_model, hub_environment, initialize

TOKEN = "hf_secret"


@pytest.mark.parametrize("other", [None, "hf_wrong"])
def test_the_token_in_the_file_is_used_whatever_the_variable_is(tmp_path: Path, other: str | None) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    with FakeHub({"owner/name": a_model(tmp_path / "served")}, token=TOKEN) as hub:
        environ = hub_environment(hub, other) | {TOKEN_PATH_VARIABLE: str(tmp_path / "token")}
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=environ)
    assert outcome.code == 0, outcome.log
    assert {request.authorization for request in hub.seen} == {"right"}


def test_the_token_in_the_file_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert secrets_in({TOKEN_PATH_VARIABLE: str(tmp_path / "token")}) == [TOKEN]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "ModelUnauthorized: the file HF_TOKEN_PATH={file} cannot be read (No such file or directory): put the"),
        (b"\xff", "cannot be read (it is not text)"),
        (
            b"hf_bro ken",
            "ModelUnauthorized: the file HF_TOKEN_PATH={file} has a character that is not valid in a token",
        ),
        (b"hf_wrong", "denied access to owner/name with the token in the file HF_TOKEN_PATH={file}"),
        (b"", "or it is private and the file HF_TOKEN_PATH={file} is empty"),
    ],
)
def test_a_token_that_does_not_help_is_named_by_its_file(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with FakeHub({"owner/name": a_model(tmp_path / "served")}, token=TOKEN) as hub:
        environ = hub_environment(hub, TOKEN) | {TOKEN_PATH_VARIABLE: str(file)}
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=environ)
    assert outcome.code == RETRY_IS_USELESS
    assert words.format(file=file) in outcome.last_line
