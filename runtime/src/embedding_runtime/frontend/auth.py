"""API keys from a file, as a Secret is mounted: read again when it changes, while the server runs.

A line a key, `NAME KEY [TOKENS_PER_MINUTE]`; empty lines and those that begin with # are skipped. NAME is for logs,
KEY is the key itself, of 16 characters or more, or sha256: and its digest in hex (`printf %s "$KEY" | sha256sum`). Of a
key nothing but its digest is kept, and nothing is ever logged.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["ApiKey", "BadKeys", "FailedAttempts", "KeysFile", "parse"]

_log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""The file is looked at this often, at most."""

MIN_KEY = 16
"""Characters of a key, at least: shorter ones can be guessed."""

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGITS = 15
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")


class BadKeys(ValueError):
    """A keys file that cannot be used; the message has every problem, and no key."""


@dataclass(frozen=True)
class ApiKey:
    """Who may ask, and how much."""

    name: str
    digest: bytes
    """SHA-256 of the key."""
    tokens_per_minute: int | None = None


class KeysFile:
    """The keys as the file has them now. Of a file that turns bad, the last good reading stays, and the log says why.

    Times are seconds of one clock that does not go back.
    """

    def __init__(self, path: Path, now: float) -> None:
        """Raises BadKeys."""
        self._path = path
        self._looked = now
        self._stamp = self._stat()
        self._keys = self._read()

    def find(self, presented: str, now: float) -> ApiKey | None:
        """Whose key it is, of what a header holds. Takes the same time whichever it is, or none."""
        self._look(now)
        digest = hashlib.sha256(presented.encode("latin-1")).digest()  # the bytes as they came
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def _look(self, now: float) -> None:
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        stamp = self._stat()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = self._read()
        except BadKeys as bad:
            _log.error("the API keys were not reloaded, and the previous ones stay valid: %s", bad)
            return
        _log.info("reloaded %d API keys", len(self._keys))

    def _stat(self) -> tuple[int, int, int] | None:
        """Changes with the file: a Secret's is a link into a directory that is swapped."""
        try:
            seen = self._path.stat()
        except OSError:
            return None
        return seen.st_ino, seen.st_mtime_ns, seen.st_size

    def _read(self) -> tuple[ApiKey, ...]:
        try:
            return parse(self._path.read_text())
        except OSError as error:
            raise BadKeys(f"{self._path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise BadKeys(f"{self._path} is not UTF-8 text") from error
        except BadKeys as bad:
            raise BadKeys(f"{self._path}: {bad}") from bad


class FailedAttempts:
    """How long the answer to a wrong key is held back: the attempts of one peer take turns.

    A right key never waits. Peers share a fixed number of slots: an attacker's addresses take no memory.
    Times are seconds of one clock that does not go back.
    """

    def __init__(self) -> None:
        self._free_at = [0.0] * 1024

    def delay(self, peer: str, now: float) -> float:
        """Seconds for one more failed attempt of a peer."""
        slot = hash(peer) % len(self._free_at)
        self._free_at[slot] = min(max(self._free_at[slot], now) + _ATTEMPT_SECONDS, now + _MAX_ATTEMPT_SECONDS)
        return self._free_at[slot] - now


_ATTEMPT_SECONDS = 0.05

_MAX_ATTEMPT_SECONDS = 0.5
"""Longer ones would gather more requests than they keep away."""


def parse(text: str) -> tuple[ApiKey, ...]:
    """Raises BadKeys."""
    keys: list[ApiKey] = []
    problems: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        found = [f"line {number}: {problem}" for problem in _problems(words, keys)]
        problems += found
        if not found:
            keys.append(_key(words))
    if not keys and not problems:
        problems.append("the file has no keys, so every request would be rejected: add a line NAME KEY")
    if problems:
        raise BadKeys("; ".join(problems))
    return tuple(keys)


def _problems(words: Sequence[str], before: Sequence[ApiKey]) -> Iterator[str]:
    """What is wrong with a line, in words that quote neither of its first two: they may be in the wrong order."""
    if len(words) not in (2, 3):
        yield f"expected NAME KEY [TOKENS_PER_MINUTE], found {len(words)} words"
        return
    if not _NAME.fullmatch(words[0]):
        yield "the name must have at most 64 characters, all of them letters, digits, . _ @ or -"
    if not words[1].startswith("sha256:") and len(words[1]) < MIN_KEY:
        yield f"the key has {len(words[1])} of at least {MIN_KEY} characters: create one with openssl rand -hex 24"
    if words[1].startswith("sha256:") and not _DIGEST.fullmatch(words[1]):
        yield "sha256: must be followed by 64 hexadecimal digits"
    if len(words) > 2 and not (words[2].isdecimal() and len(words[2]) <= _DIGITS and int(words[2])):  # noqa: PLR2004
        yield f"TOKENS_PER_MINUTE must be a whole number above 0 with at most {_DIGITS} digits"
    if words[0] in {key.name for key in before}:
        yield "the name occurs in an earlier line"
    if _digest(words[1]) in {key.digest for key in before}:
        yield "the key occurs in an earlier line"


def _key(words: Sequence[str]) -> ApiKey:
    name, key, *limit = words
    return ApiKey(name, _digest(key), int(limit[0]) if limit else None)


def _digest(key: str) -> bytes:
    given = _DIGEST.fullmatch(key)
    return bytes.fromhex(given[1]) if given else hashlib.sha256(key.encode()).digest()
