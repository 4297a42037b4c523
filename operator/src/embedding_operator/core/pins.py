"""The version of a model that a service's pods get, and where that is recorded: in annotations of its Deployments.

A record belongs to a URI. It survives changes of the service's other fields, and upgrades of the operator. Users who
may edit Deployments can edit it, so the operator ignores a record that differs from the pods of the same Deployment.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Self

from embedding_operator.constants import MODEL_ANNOTATION
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.objects import Raw
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.uri_identity import identity
from embedding_operator.core.versions import at_version, may_move
from embedding_operator.core.wording import shortened
from embedding_runtime.contract import BadUri, DownloadedModel, parse_uri

__all__ = ["Pin", "has_record", "pin_of", "problem_of", "recorded"]

_VERSION = re.compile(r"[0-9A-Za-z]{1,64}|sha256:[0-9a-f]{64}")
"""A commit, which mirrors of hubs may have in another form than git, or a digest."""


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

    @property
    def is_version(self) -> bool:
        """The revision is a commit or a digest, if there is one."""
        return self.revision is None or _VERSION.fullmatch(self.revision) is not None


def pin_of(deployment: Raw) -> Pin | None:
    """What a Deployment records. None: its initializer decides, as in releases before pins; or its record is ignored,
    as `problem_of` says.
    """
    return None if problem_of(deployment) else _parsed(_record(deployment))


def has_record(deployment: Raw) -> bool:
    """It is of a release that records versions."""
    return _record(deployment) is not None


def problem_of(deployment: Raw) -> str | None:
    """Why its record is ignored, if it is: somebody has edited it."""
    if (text := _record(deployment)) is None:
        return None
    pin = Pin.from_message(text)
    if pin is None:
        return "it is no record of a model"
    if not pin.is_version:
        return f"{shortened(pin.revision or '', 80)} is neither a commit nor a digest"
    if pin.path is not None or pin.claim is not None:
        is_mounted = any((pin.claim, pin.path) == each for each in mounted(deployment))
        return None if is_mounted else f"its pods do not mount {pin.path} of PersistentVolumeClaim {pin.claim}"
    return None if _downloads(deployment, pin) else f"its pods do not download {pin.revision} of {pin.uri}"


def recorded(snapshot: Snapshot, uri: str, *, follows: bool) -> Iterator[Pin]:
    """All records about a URI: the candidate's, the serving revision's, then those of the youngest Deployments, and
    that of the revision that failed. If the service follows the URI, a failed version is newer than the serving one.
    """
    of_status = snapshot.status.get("revision") or {}
    failed = _parsed((of_status.get("failed") or {}).get("model"))
    deployments = snapshot.deployments
    if failed is not None and not failed.is_version:
        failed = None
    first: list[str] = [of_status.get("candidate", ""), of_status.get("serving", "")]
    others = sorted(deployments, key=lambda each: _created(deployments[each]), reverse=True)
    pins = [pin_of(deployments[each]) for each in dict.fromkeys([*first, *others]) if each in deployments]
    at = 1 if first[0] in deployments else 0
    pins.insert(at if follows else len(pins), failed)
    return (each for each in pins if each is not None and each.uri == identity(uri))


def _record(deployment: Raw) -> str | None:
    text: str | None = (deployment["metadata"].get("annotations") or {}).get(MODEL_ANNOTATION)
    return text


def _downloads(deployment: Raw, pin: Pin) -> bool:
    """Whether the initializer's arguments have the URI at that version, where a URI can name one."""
    try:
        uri = parse_uri(pin.uri)
    except BadUri:
        return False
    if pin.revision is None or not may_move(uri):
        return True
    containers = deployment["spec"]["template"]["spec"].get("initContainers") or ()
    return any(str(at_version(uri, pin.revision)) in (each.get("args") or ()) for each in containers)


def _parsed(text: str | None) -> Pin | None:
    return Pin.from_message(text) if text else None


def _created(deployment: Raw) -> datetime:
    return datetime.fromisoformat(deployment["metadata"]["creationTimestamp"])
