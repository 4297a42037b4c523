"""Which URIs name one version, and which name a branch or a tag, which may move."""

import re
from dataclasses import replace

from embedding_runtime.contract import HuggingFaceUri, ModelUri, OciUri

__all__ = ["at_version", "is_fixed", "may_move"]

_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_fixed(uri: ModelUri) -> bool:
    """The URI has a commit or a digest, so all pods get the same files."""
    if isinstance(uri, HuggingFaceUri):
        return bool(uri.revision and _COMMIT.fullmatch(uri.revision))
    return isinstance(uri, OciUri) and uri.digest is not None


def may_move(uri: ModelUri) -> bool:
    """The URI has a branch or a tag, and there is a URI of the commit or digest that this stands for."""
    return isinstance(uri, HuggingFaceUri | OciUri) and not is_fixed(uri)


def at_version(uri: ModelUri, version: str) -> ModelUri:
    """The URI of that version; the same if it cannot name one."""
    match uri:
        case HuggingFaceUri():
            return replace(uri, revision=version)
        case OciUri():
            return replace(uri, digest=version)
    return uri
