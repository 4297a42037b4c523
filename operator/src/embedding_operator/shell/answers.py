"""Failed answers of the API server as faults: the call, who refused it, the reason, and the remedy."""

import json
from collections.abc import Mapping

from embedding_operator.errors import AlreadyExists, ClusterFault, Conflict, Denied, Expired, NotFound, Unavailable

__all__ = ["fault_of"]

_FAULTS: Mapping[int, type[ClusterFault]] = {
    401: Unavailable,  # a token that was just rotated: the next call reads the new one
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Expired,
    429: Unavailable,
}

_REMEDIES = (
    # words of the API server, a reason, what to do
    ("failed calling webhook", "WebhookFailed", "Restore the webhook's backend, or delete its configuration"),
    ("admission webhook", "WebhookDenied", "Change what the webhook objects to, or exempt the object from it"),
    ("exceeded quota", "QuotaExceeded", "Raise the quota of the namespace, or free some of it"),
    ("failed quota", "QuotaExceeded", "The namespace's quota requires values that the spec does not set: set them"),
    ("is being terminated", "NamespaceTerminating", "The namespace is being deleted, and the service with it"),
    ("forbidden: User ", "Forbidden", "Grant the operator's service account this right; the chart's roles have it"),
)


def fault_of(call: str, status: int, text: bytes, retry_after: str | None = None) -> ClusterFault:
    """The fault for an answer that is not a success. `call` is what was tried, as "create Deployment default/x"."""
    kind = _FAULTS.get(status, Unavailable if status >= 500 else Denied)  # noqa: PLR2004 theirs and ours, in HTTP
    words, reason = _words(text)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    verb = "could not" if kind is Unavailable else "refused to"
    message = f"The API server {verb} {call} ({status}): {words}"
    named, remedy = _remedy(words) if kind in {Denied, Unavailable} else (None, "")
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else None
    return kind(f"{message}. {remedy}" if remedy else message, retry_after=seconds, reason=named, status=status)


def _remedy(words: str) -> tuple[str | None, str]:
    return next(((reason, remedy) for sign, reason, remedy in _REMEDIES if sign in words), (None, ""))


def _words(text: bytes) -> tuple[str, str]:
    """Message and reason of a Status object; of anything else, a proxy's page perhaps, its beginning."""
    try:
        status = json.loads(text)
        message, reason = status["message"], str(status.get("reason", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        message, reason = text[:200].decode(errors="replace"), ""
    return " ".join(str(message).split()).rstrip("."), reason
