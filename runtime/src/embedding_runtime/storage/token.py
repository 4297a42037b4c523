"""Tokens: the one for a Hugging Face hub is in the file that HF_TOKEN_PATH names, or else in HF_TOKEN."""

from collections.abc import Mapping
from pathlib import Path

from embedding_runtime.contract import TOKEN_PATH_VARIABLE, DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["VARIABLE", "check_token", "read_token"]

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
    return check_token(text, place), place


def check_token(text: str, place: str, forbidden: str = "") -> str | None:
    """The token without white space; None if there is none. Raises NoModel.

    `place`: where it is, for the message. Checked here, because the client's error would contain the token.
    """
    token = text.strip()  # a Secret created from a file may end with a newline
    if not all("!" <= letter <= "~" and letter not in forbidden for letter in token):
        message = f"{place} has a character that is not valid in a token: copy the token again"
        raise NoModel(DownloadVerdict.MODEL_UNAUTHORIZED, message)
    return token or None
