"""A request to a hub, from the environment. Used before the hub's client is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from embedding_runtime.contract import CODE_VARIABLE, DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["Hub", "Request", "client_environment", "trusts_code"]

_PUBLIC = "https://huggingface.co"


def trusts_code(environ: Mapping[str, str]) -> bool:
    """Whether to download Python code from other repositories."""
    return environ.get(CODE_VARIABLE, "").strip().lower() in ("1", "true", "yes")


@dataclass(frozen=True)
class Hub:
    """URL of a hub, and the token, if there is one."""

    endpoint: str
    token: str | None = field(repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read HF_ENDPOINT and HF_TOKEN; empty means not set. Raises NoModel for invalid values."""
        endpoint = (environ.get("HF_ENDPOINT") or _PUBLIC).rstrip("/")
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise NoModel(
                DownloadVerdict.DOWNLOAD_FAILED, f"HF_ENDPOINT={endpoint} is not a URL of a hub: use https://host"
            )
        token = environ.get("HF_TOKEN", "").strip()  # a Secret created from a file may end with a newline
        if not all("!" <= letter <= "~" for letter in token):
            # Checked here, because the client's error would contain the token.
            raise NoModel(
                DownloadVerdict.MODEL_UNAUTHORIZED,
                "HF_TOKEN has a character that is not valid in a token: copy the token again",
            )
        return cls(endpoint, token or None)


@dataclass(frozen=True)
class Request:
    """A repository at a hub. `uri` is the original URI of the model."""

    uri: str
    repo_id: str
    revision: str | None
    hub: Hub
    reason: str = ""
    """Why this repository is needed, if it is not the model's."""

    def __str__(self) -> str:
        return f"{self.uri}: {self.reason}, and " if self.reason else f"{self.uri}: "


def client_environment(home: Path) -> dict[str, str]:
    """Environment of the hub's client: it writes only below `home`, and sends no telemetry."""
    return {
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
