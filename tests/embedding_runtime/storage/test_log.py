import io

from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.storage.log import Log, secrets_in

words = st.text("abcdef", min_size=1, max_size=8)


@given(st.lists(words), words, st.lists(words))
def test_no_log_line_contains_a_secret(before: list[str], secret: str, after: list[str]) -> None:
    stream = io.StringIO()
    Log(stream, [secret]).say(" ".join([*before, secret, *after]))
    assert secret not in stream.getvalue()


def test_the_token_and_the_credentials_in_the_hubs_address_are_secrets() -> None:
    environ = {"HF_TOKEN": "hf_secret\n", "HF_ENDPOINT": "https://user:password@hub.example"}
    assert secrets_in(environ) == ["hf_secret", "user:password@"]


def test_unset_variables_are_not_secrets() -> None:
    assert secrets_in({"HF_TOKEN": "", "HF_ENDPOINT": "https://hub.example"}) == []
