"""A log on stderr that removes secrets, with a line at the end that changes if stderr is a terminal.

Messages quote names and digests of others, who may be hostile: here alone they are shortened.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from embedding_runtime.contract import TOKEN_PATH_VARIABLE

__all__ = ["Log", "secrets_in"]


class Log:
    """Writes plain lines. Secrets are replaced by ***, and then the middle of a long line by " ... "."""

    def __init__(self, stream: TextIO, secrets: Iterable[str]) -> None:
        self._stream = stream
        self._secrets = sorted(secrets, key=len, reverse=True)  # one may contain another
        self.is_terminal = stream.isatty()

    def say(self, text: str) -> None:
        """Write a line, or those of a traceback, immediately."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        text = "\n".join(map(_shortened, text.splitlines()))
        self._stream.write(f"{_CLEAR if self.is_terminal else ''}{text}\n")
        self._stream.flush()

    def redraw(self, text: str) -> None:
        """Replace the last line of a terminal; it goes with the next `say`."""
        self._stream.write(f"{_CLEAR}{text}")
        self._stream.flush()


_LONGEST_LINE = 2000
"""Bytes: a verdict must be whole in a termination message, for which the kubelet takes the last 2048 of the log."""


def _shortened(line: str) -> str:
    content = line.encode(errors="backslashreplace")
    if len(content) <= _LONGEST_LINE:
        return line
    half = (_LONGEST_LINE - 5) // 2
    return f"{content[:half].decode(errors='ignore')} ... {content[-half:].decode(errors='ignore')}"


_CLEAR = "\r\033[K"
_SECRETS = (
    "HF_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "MODELSCOPE_API_TOKEN",
    "OCI_PASSWORD",
)
_URLS = (
    "HF_ENDPOINT",
    "MODELSCOPE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AZURE_STORAGE_ENDPOINT",
    "GOOGLE_BASE_URL",
    "ALL_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "all_proxy",
    "http_proxy",
    "https_proxy",
)
"""They may have a user and a password."""
_DOCKER_SECRET = re.compile(r'"(?:auth|password|identitytoken|registrytoken)"\s*:\s*"([^"]+)"')


def secrets_in(environ: Mapping[str, str], uri: str = "") -> list[str]:
    """The secrets: tokens and keys of sources, and credentials in URLs, of which a query may be a signature."""
    secrets = [environ.get(name, "").strip() for name in _SECRETS]
    with suppress(OSError, UnicodeDecodeError):  # `token` says why it cannot be read, if the source wants it
        secrets.append(Path(environ.get(TOKEN_PATH_VARIABLE, "")).read_text().strip())
    secrets.append(environ.get("HTTP_AUTHORIZATION", "").strip().rpartition(" ")[2])
    secrets += _DOCKER_SECRET.findall(environ.get("OCI_AUTH_CONFIG", ""))
    for url in (*(environ.get(name, "") for name in _URLS), uri):
        with suppress(ValueError):  # reported where the URL is used
            credentials, at, _ = urlsplit(url).netloc.rpartition("@")
            secrets += [credentials + at, urlsplit(url).query]
    return [secret for secret in secrets if secret]
