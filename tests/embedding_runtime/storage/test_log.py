import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.storage.log import Log, secrets_in

words = st.text("abcdef", min_size=1, max_size=8)


@given(st.lists(words), words, st.lists(words))
def test_no_log_line_contains_a_secret(before: list[str], secret: str, after: list[str]) -> None:
    stream = io.StringIO()
    Log(stream, [secret]).say(" ".join([*before, secret, *after]))
    assert secret not in stream.getvalue()


def test_a_secret_at_the_place_where_a_line_is_shortened_is_replaced_before() -> None:
    stream = io.StringIO()
    Log(stream, ["hush" * 100]).say(f"{'é' * 450}{'hush' * 100}{'é' * 5_000}\nanother line")
    first, second = stream.getvalue().splitlines()
    assert (first, second) == (f"{'é' * 450}***{'é' * 47} ... {'é' * 498}", "another line")


def test_the_token_and_the_credentials_in_the_hubs_address_are_secrets() -> None:
    environ = {"HF_TOKEN": "hf_secret\n", "HF_ENDPOINT": "https://user:password@hub.example"}
    assert secrets_in(environ) == ["hf_secret", "user:password@"]


def test_unset_variables_are_not_secrets() -> None:
    assert secrets_in({"HF_TOKEN": "", "HF_ENDPOINT": "https://hub.example"}) == []


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_that_changes_makes_room_for_the_next_one() -> None:
    stream = _Terminal()
    log = Log(stream, ())
    log.redraw("10%")
    log.redraw("20%")
    log.say("done")
    assert stream.getvalue() == "\r\033[K10%\r\033[K20%\r\033[Kdone\n"


def test_signatures_in_addresses_and_the_header_for_them_are_secrets() -> None:
    uri = "https://user:password@host/model.tar?signature=hush"
    assert secrets_in({"HTTP_AUTHORIZATION": "Bearer hush-hush"}, uri) == [
        "hush-hush",
        "user:password@",
        "signature=hush",
    ]


@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "GOOGLE_BASE_URL", "HTTPS_PROXY", "https_proxy"])
def test_the_password_in_the_address_of_a_store_or_a_proxy_is_a_secret(name: str) -> None:
    assert secrets_in({name: "https://user:password@host:1"}) == ["user:password@"]


def test_an_address_that_cannot_be_read_ends_nothing() -> None:
    assert secrets_in({"HTTPS_PROXY": "http://["}) == []
