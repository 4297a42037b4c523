"""What the kubelet cannot do for a container: pull its image, or create it."""

import re

from embedding_operator.core.objects import Raw
from embedding_operator.core.pods import Container
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.wording import capitalized, sentence

__all__ = ["NOT_PULLED", "ON_ITS_WAY", "cannot_start", "cause_of", "missing_reference"]

ON_ITS_WAY = (None, "PodInitializing", "ContainerCreating", "CrashLoopBackOff")
"""Reasons to wait that say nothing: the container is on its way, or its last end says why it waits."""

NOT_PULLED = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_MISSING = re.compile(
    r"(?:secret|configmap) \"?[^ ]+\"? not found|non-existent (?:secret|config) key|couldn't find key"
)


def cannot_start(container: Container, expected: Raw, subject: str) -> Finding | None:
    """None: the kubelet reports no problem. `subject` names the container in a sentence: "the server"."""
    if container.waiting in ON_ITS_WAY:
        return None
    cause = cause_of(container)
    if container.waiting in NOT_PULLED:
        message = f"{capitalized(subject)}'s image {expected['image']} cannot be pulled: {cause}"
        return Finding(Reason.IMAGE_PULL_FAILED, f"{message} Correct the image, or push it to its registry.")
    if (missing := missing_reference(cause)) is not None:
        return missing
    return Finding(container.waiting or "", f"The kubelet cannot start {subject}: {cause}")


def cause_of(container: Container) -> str:
    """Why a container waits. Between two attempts to pull an image, the kubelet wraps the cause in its own words; the
    cause alone stays the same.
    """
    return sentence(container.waiting_message.rpartition("ErrImagePull: ")[2])


def missing_reference(words: str) -> Finding | None:
    """A Secret or ConfigMap, or a key of one, that a pod needs and that does not exist."""
    if not _MISSING.search(words):
        return None
    message = f"The kubelet cannot start the pod: {sentence(words)} Create what is missing, or correct the reference."
    return Finding(Reason.SECRET_NOT_FOUND, message)
