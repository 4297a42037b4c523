"""The file of API keys: its format, and changes while the server runs."""

import hashlib
import logging
import os
from pathlib import Path

import pytest

from embedding_runtime.frontend.auth import BadKeys, FailedAttempts, KeysFile, parse

DIGEST = hashlib.sha256(b"sk-two-long-enough").hexdigest()
GOOD = f"""
# the search team
search  sk-one-long-enough  1000
batch   sha256:{DIGEST.upper()}
"""


def mounted(directory: Path, text: str) -> Path:
    """As the kubelet writes a Secret: the file is a link through ..data, and an update swaps that link."""
    generation = directory / f"..{len(list(directory.iterdir()))}"
    generation.mkdir()
    (generation / "keys").write_text(text)
    (directory / "..data_tmp").symlink_to(generation.name)
    (directory / "..data_tmp").rename(directory / "..data")
    link = directory / "keys"
    if not link.is_symlink():
        link.symlink_to("..data/keys")
    return link


def test_a_line_has_a_name_a_plain_or_hashed_key_and_an_optional_limit() -> None:
    search, batch = parse(GOOD)
    assert (search.name, search.tokens_per_minute) == ("search", 1000)
    assert (batch.name, batch.digest.hex(), batch.tokens_per_minute) == ("batch", DIGEST, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no keys"),
        ("# nobody", "no keys"),
        ("sk-one-long-enough", "line 1: expected NAME KEY [TOKENS_PER_MINUTE], found 1 words"),
        ("a sk-one-long-enough 5 6", "line 1: expected NAME KEY [TOKENS_PER_MINUTE], found 4 words"),
        ("a/b sk-one-long-enough", "line 1: the name must have"),
        ("\na sk-one-long-enough 0", "line 2: TOKENS_PER_MINUTE must be"),
        ("a sk-one-long-enough -5", "line 1: TOKENS_PER_MINUTE must be"),
        ("a sk-one-long-enough 1e6", "line 1: TOKENS_PER_MINUTE must be"),
        ("a sha256:sk-one-long-enough", "line 1: sha256: must be followed"),
        ("a sk-one-long-enough\na sk-two-long-enough", "line 2: the name occurs"),
        (f"a sk-two-long-enough\nb sha256:{DIGEST}", "line 2: the key occurs"),
        ("a sk-one-long-enough 0\nb c d e", "line 2: expected NAME KEY [TOKENS_PER_MINUTE], found 4"),
        ("a sk-15-character", "line 1: the key has 15 of at least 16 characters"),
    ],
)
def test_problems_are_reported_with_their_line_and_without_keys(text: str, words: str) -> None:
    with pytest.raises(BadKeys) as caught:
        parse(text)
    assert words in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_a_key_is_found_by_its_value(tmp_path: Path) -> None:
    keys = KeysFile(mounted(tmp_path, GOOD), now=0)
    found = [
        keys.find(presented, 0)
        for presented in (
            "sk-one-long-enough",
            "sk-two-long-enough",
            "sk-three-long-enough",
            "",
            DIGEST,
            "sk-öne-long-enough",
        )
    ]
    assert [key and key.name for key in found] == ["search", "batch", None, None, None, None]


def test_a_changed_file_is_reloaded_within_a_second(tmp_path: Path) -> None:
    keys = KeysFile(mounted(tmp_path, GOOD), now=0)
    mounted(tmp_path, "other sk-new-long-enough")
    assert keys.find("sk-new-long-enough", 0.9) is None
    assert keys.find("sk-new-long-enough", 1.0) is not None
    assert keys.find("sk-one-long-enough", 1.0) is None


@pytest.mark.parametrize("broken", ["search", "", "\xff"])
def test_an_invalid_file_keeps_the_previous_keys_and_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    keys = KeysFile(mounted(tmp_path, GOOD), now=0)
    mounted(tmp_path, "").write_bytes(broken.encode("latin-1"))
    assert keys.find("sk-one-long-enough", 1) is not None
    assert keys.find("sk-one-long-enough", 5) is not None
    (record,) = caplog.records
    assert (record.levelno, "the API keys were not reloaded" in record.message) == (logging.ERROR, True)
    assert "sk-" not in record.message
    mounted(tmp_path, "other sk-new-long-enough")
    assert keys.find("sk-new-long-enough", 9) is not None


def test_a_deleted_file_keeps_the_previous_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = mounted(tmp_path, GOOD)
    keys = KeysFile(path, now=0)
    path.unlink()
    assert keys.find("sk-one-long-enough", 1) is not None
    assert "No such file" in caplog.text


def test_the_server_does_not_start_without_the_keys_file(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match=f"{os.sep}keys cannot be read: No such file"):
        KeysFile(tmp_path / "keys", now=0)


def test_failed_attempts_are_delayed_per_peer() -> None:
    attempts = FailedAttempts()
    delays = [attempts.delay("one", 10) for _ in range(100)]
    assert delays == sorted(delays)
    assert (delays[0], delays[1], delays[-1]) == pytest.approx((0.05, 0.1, 0.5))
    others = [attempts.delay(f"other {number}", 10) for number in range(20)]
    assert sum(delay > 0.06 for delay in others) <= 5  # but for those in the same slot
    assert attempts.delay("one", 20) == pytest.approx(0.05)


def test_failed_attempts_of_many_peers_take_no_memory() -> None:
    attempts = FailedAttempts()
    for number in range(100_000):
        attempts.delay(f"10.0.{number}", number)
    assert len(attempts._free_at) == 1024
