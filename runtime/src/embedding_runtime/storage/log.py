"""A log on stderr that removes secrets."""

from collections.abc import Iterable, Mapping
from typing import TextIO
from urllib.parse import urlsplit

__all__ = ["Log", "secrets_in"]


class Log:
    """Writes plain lines. Secrets are replaced by ***."""

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        self._stream = stream
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may contain another

    def say(self, text: str) -> None:
        """Write one line immediately."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        self._stream.write(f"{text}\n")
        self._stream.flush()


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """The secrets: the token, and credentials in the hub's URL."""
    credentials, at, _ = urlsplit(environ.get("HF_ENDPOINT", "")).netloc.rpartition("@")
    return [secret for secret in (environ.get("HF_TOKEN", "").strip(), credentials + at) if secret]
