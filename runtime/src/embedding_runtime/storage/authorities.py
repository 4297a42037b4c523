"""Certificates of authorities that are trusted besides the system's, from the environment."""

import ssl
from collections.abc import Mapping

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel

__all__ = ["certificate_authorities"]

_VARIABLE = "CA_CERTIFICATES"
"""With certificates as text, since a storage container can set variables from ConfigMaps, but mount no files."""


def certificate_authorities(environ: Mapping[str, str]) -> str | None:
    """The certificates, in PEM. Raises NoModel if they cannot be read."""
    text = environ.get(_VARIABLE, "").strip()
    if not text:
        return None
    try:
        ssl.create_default_context(cadata=text)
    except (ssl.SSLError, ValueError) as error:
        message = f"{_VARIABLE} has no certificates ({error}): give the text of -----BEGIN CERTIFICATE----- blocks"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message) from error
    return text
