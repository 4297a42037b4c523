"""What is asked of a hub, and by whom; read from the environment before the hub's client is imported."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["Hub", "Request", "client_environment"]

_PUBLIC = "https://huggingface.co"


@dataclass(frozen=True)
class Hub:
    """Where the hub is, and who asks it (no token: nobody)."""

    endpoint: str
    token: str | None = field(repr=False)

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """HF_ENDPOINT and HF_TOKEN; empty is as good as not set. Raises NoModel for values that cannot be used."""
        endpoint = (environ.get("HF_ENDPOINT") or _PUBLIC).rstrip("/")
        url = urlsplit(endpoint)
        if url.scheme not in ("http", "https") or not url.netloc:
            raise NoModel(
                DownloadVerdict.DOWNLOAD_FAILED, f"HF_ENDPOINT={endpoint} is not a URL of a hub: use https://host"
            )
        token = environ.get("HF_TOKEN", "").strip()  # secrets made from files end in a line break
        if not all("!" <= letter <= "~" for letter in token):
            # Refused here, because the client would refuse it in an error that shows it.
            raise NoModel(
                DownloadVerdict.MODEL_UNAUTHORIZED,
                "HF_TOKEN has a character that is not valid in a token: copy the token again",
            )
        return cls(endpoint, token or None)


@dataclass(frozen=True)
class Request:
    """One model at one hub; `uri` is how the user wrote it."""

    uri: str
    repo_id: str
    revision: str | None
    hub: Hub


def client_environment(home: Path) -> dict[str, str]:
    """What the hub's client needs to know at its import: it writes nowhere but below `home`, and reports nothing."""
    return {
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    }
