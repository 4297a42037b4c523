"""The token for a Hugging Face hub: from the file that HF_TOKEN_PATH names, or else from HF_TOKEN."""

from collections.abc import Mapping
from pathlib import Path

from embedding_runtime.contract import TOKEN_PATH_VARIABLE, DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["VARIABLE", "read_token"]

VARIABLE = "HF_TOKEN"


def read_token(environ: Mapping[str, str]) -> tuple[str | None, str]:
    """The token, or None, and where it is or would be, for messages. Raises NoModel for one that cannot be used."""
    path = environ.get(TOKEN_PATH_VARIABLE, "").strip()
    text, place = environ.get(VARIABLE, ""), VARIABLE
    if path:
        place = f"the file {TOKEN_PATH_VARIABLE}={path}"
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            message = f"{place} cannot be read ({reason}): put the token there, or unset {TOKEN_PATH_VARIABLE}"
            raise NoModel(DownloadVerdict.MODEL_UNAUTHORIZED, message) from error
    token = text.strip()  # a Secret created from a file may end with a newline
    if not all("!" <= letter <= "~" for letter in token):
        # Checked here, because the client's error would contain the token.
        message = f"{place} has a character that is not valid in a token: copy the token again"
        raise NoModel(DownloadVerdict.MODEL_UNAUTHORIZED, message)
    return token or None, place
