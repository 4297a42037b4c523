"""API keys from a file, such as a mounted Secret, which is reloaded when it changes.

The file has one `NAME KEY [TOKENS_PER_MINUTE]` per line. Empty lines and comments (#) are skipped. Logs have the NAME.
KEY is the key itself, with at least 16 characters, or sha256: and its digest in hex (`printf %s "$KEY" | sha256sum`).
Only digests are kept in memory, and keys are never logged.
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
"""Minimum interval between two checks of the file."""

MIN_KEY = 16
"""Minimum length of a key; shorter ones can be guessed."""

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_DIGITS = 15
_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")


class BadKeys(ValueError):
    """An invalid keys file. The message has every problem, but no key."""


@dataclass(frozen=True)
class ApiKey:
    """An API key and its limit."""

    name: str
    digest: bytes
    """SHA-256 of the key."""
    tokens_per_minute: int | None = None


class KeysFile:
    """The current keys of a file. If the file becomes invalid, the previous keys stay, and the log says why.

    Times are seconds of a monotonic clock.
    """

    def __init__(self, path: Path, now: float) -> None:
        """Raises BadKeys."""
        self._path = path
        self._looked = now
        self._stamp = self._stat()
        self._keys = self._read()

    def find(self, presented: str, now: float) -> ApiKey | None:
        """The key that equals the presented one, in constant time."""
        self._look(now)
        digest = hashlib.sha256(presented.encode("latin-1")).digest()  # the original bytes
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
        """A stamp that changes with the file. The kubelet swaps the directory behind a Secret's link."""
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
    """Delays responses to invalid keys, per peer. Valid keys are never delayed.

    Peers share a fixed number of slots, so that many addresses of an attacker take no memory. Times are seconds of a
    monotonic clock.
    """

    def __init__(self) -> None:
        self._free_at = [0.0] * 1024

    def delay(self, peer: str, now: float) -> float:
        """Seconds to delay the response to one more failed attempt of a peer."""
        slot = hash(peer) % len(self._free_at)
        self._free_at[slot] = min(max(self._free_at[slot], now) + _ATTEMPT_SECONDS, now + _MAX_ATTEMPT_SECONDS)
        return self._free_at[slot] - now


_ATTEMPT_SECONDS = 0.05

_MAX_ATTEMPT_SECONDS = 0.5
"""A longer delay would accumulate more requests than it deters."""


def parse(text: str) -> tuple[ApiKey, ...]:
    """Parse a keys file. Raises BadKeys."""
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
    """The problems of a line. They quote neither name nor key, which may be in the wrong order."""
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
