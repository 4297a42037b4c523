"""Errors of the hub, the network and the disk: a message for each, and whether a retry can help. Pure."""

import errno
import json

import httpx2
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.request import Request

__all__ = ["HUB_FAULTS", "Damaged", "may_pass", "no_model"]

HUB_FAULTS = (OSError, ValueError, httpx2.RequestError)
"""Exceptions of a download. The client's own are OSErrors; a ValueError is a response that it cannot parse."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_UNAUTHORIZED, _FORBIDDEN, _TIMED_OUT, _TOO_MANY, _SERVER_ERROR = 401, 403, 408, 429, 500


class Damaged(OSError):
    """A file whose hash is not the one that the hub lists."""


def may_pass(error: Exception) -> bool:
    """Whether a retry may succeed: true for errors of network and server, false for those of request and disk."""
    error = _cause(error)
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        return status >= _SERVER_ERROR or status in (_TIMED_OUT, _TOO_MANY)
    wrong_size = type(error) is OSError and error.errno is None
    return wrong_size or isinstance(error, Damaged | httpx2.RequestError)


def no_model(error: Exception, request: Request, attempts: int) -> NoModel:
    """The verdict on the exception of the last of `attempts` attempts."""
    error = _cause(error)
    repo, endpoint, token = request.repo_id, request.hub.endpoint, request.hub.token
    asked = "with the token in HF_TOKEN" if token else "without a token"
    verdict, words = DownloadVerdict.DOWNLOAD_FAILED, f"attempt {attempts} failed at {endpoint}: {_in_words(error)}"
    if isinstance(error, RevisionNotFoundError):
        verdict = DownloadVerdict.MODEL_NOT_FOUND
        words = f"{repo} at {endpoint} has no revision {request.revision!r}: use one of its branches, tags or commits"
    elif isinstance(error, GatedRepoError):
        verdict = DownloadVerdict.MODEL_UNAUTHORIZED
        words = (
            f"{repo} at {endpoint} is gated, and was requested {asked}: accept its terms and use that account's token"
        )
    elif isinstance(error, RepositoryNotFoundError) and not (token and _status(error) == _UNAUTHORIZED):
        # A hub does not reveal which repositories exist. Whether one is private or missing, it answers 401 without a
        # token and 404 with a token that has no access.
        maybe = (
            "it is private and the token in HF_TOKEN has no access"
            if token
            else "it is private and HF_TOKEN is not set"
        )
        verdict = DownloadVerdict.MODEL_NOT_FOUND
        words = f"{endpoint} has no repository {repo}, or {maybe}: check the name and the token"
    elif isinstance(error, HfHubHTTPError) and _status(error) in (_UNAUTHORIZED, _FORBIDDEN):
        verdict = DownloadVerdict.MODEL_UNAUTHORIZED
        words = f"{endpoint} denied access to {repo} {asked}: {_in_words(error)}; check that the token is valid"
    return NoModel(verdict, f"{request}{words}")


def _cause(error: Exception) -> Exception:
    """Unwrap the client's 'nor is it found locally'."""
    while isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _status(error: HfHubHTTPError) -> int:
    return error.response.status_code


def _in_words(error: Exception) -> str:
    if isinstance(error, HfHubHTTPError):
        return f"the hub answered {_status(error)} {error.server_message or error.response.reason_phrase}".strip()
    if isinstance(error, json.JSONDecodeError):
        return f"the response is not from a Hugging Face hub ({error})"
    if isinstance(error, httpx2.TimeoutException):
        return f"the request timed out ({type(error).__name__})"
    if isinstance(error, httpx2.RequestError):
        return f"the connection failed ({error or type(error).__name__})"
    if isinstance(error, OSError) and error.errno in _FULL:
        return f"the disk is full ({error}); enlarge the volume"
    return f"{error}" or type(error).__name__
