"""Which URIs have one version, and which may have another one later."""

import re

from embedding_runtime.contract import HuggingFaceUri, ModelUri

__all__ = ["has_branches", "is_fixed"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_fixed(uri: ModelUri) -> bool:
    """The URI names a commit, so all pods get the same files."""
    return isinstance(uri, HuggingFaceUri) and bool(uri.revision and _COMMIT.fullmatch(uri.revision))


def has_branches(uri: ModelUri) -> bool:
    """The URI names a branch or tag of a hub, which has commits."""
    return isinstance(uri, HuggingFaceUri) and not is_fixed(uri)
