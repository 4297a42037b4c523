"""The version of a model that a service's pods get, and where that is recorded: in annotations of its Deployments.

A record belongs to a URI. It is kept when other fields of the service change, and in upgrades of the operator.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Self

from embedding_operator.constants import MODEL_ANNOTATION
from embedding_operator.core.objects import Raw
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.uri_identity import identity
from embedding_runtime.contract import DownloadedModel

__all__ = ["Pin", "pin_of", "recorded"]


class Pin(DownloadedModel):
    """What a Job reported about a URI. As text: the annotation."""

    uri: str
    """The `identity` of spec.model.storageUri."""
    claim: str | None = None
    """The claim whose `path` has the model."""

    @classmethod
    def of(cls, found: DownloadedModel, uri: str, claim: str | None) -> Self:
        """What a Job reported. The state of the cache is left out: it is of that moment."""
        reported = found.model_dump(include={"weights_bytes", "revision", "code", "path"}, exclude_defaults=True)
        return cls(uri=identity(uri), claim=claim, **reported)

    def without_path(self) -> Self:
        """For pods that do not use the cache."""
        return self.model_copy(update={"claim": None, "path": None})

    @property
    def version(self) -> str | None:
        """Two equal ones are the same files."""
        return self.revision or self.path


def pin_of(deployment: Raw) -> Pin | None:
    """What a Deployment records. None: its initializer decides, as in releases before pins."""
    return _parsed((deployment["metadata"].get("annotations") or {}).get(MODEL_ANNOTATION))


def recorded(snapshot: Snapshot, uri: str, *, follows: bool) -> Iterator[Pin]:
    """All records about a URI: the candidate's, the serving revision's, then those of the youngest Deployments, and
    that of the revision that failed. If the service follows the URI, a failed version is newer than the serving one.
    """
    of_status = snapshot.status.get("revision") or {}
    failed = _parsed((of_status.get("failed") or {}).get("model"))
    deployments = snapshot.deployments
    first: list[str] = [of_status.get("candidate", ""), of_status.get("serving", "")]
    others = sorted(deployments, key=lambda each: _created(deployments[each]), reverse=True)
    pins = [pin_of(deployments[each]) for each in dict.fromkeys([*first, *others]) if each in deployments]
    at = 1 if first[0] in deployments else 0
    pins.insert(at if follows else len(pins), failed)
    return (each for each in pins if each is not None and each.uri == identity(uri))


def _parsed(text: str | None) -> Pin | None:
    return Pin.from_message(text) if text else None


def _created(deployment: Raw) -> datetime:
    return datetime.fromisoformat(deployment["metadata"]["creationTimestamp"])
