"""What stands for a URI outside of the spec: in statuses, Events and annotations, which more people read."""

import hashlib
import re

from embedding_runtime.contract import without_secrets

__all__ = ["identity"]

_IDENTITY = re.compile(r"[a-z0-9+.-]+://(\*\*\*@)?[^@/?#]*(/[^?#]*)?\?\*\*\*-[0-9a-f]{8}(#.*)?")


def identity(uri: str) -> str:
    """The URI itself; *** for its user and its query, with a digest: equal ones are of the same URI."""
    shown = without_secrets(uri)
    if shown == uri or _IDENTITY.fullmatch(uri):
        return uri
    place, hash_mark, fragment = shown.partition("#")
    return f"{place.removesuffix('?***')}?***-{hashlib.sha256(uri.encode()).hexdigest()[:8]}{hash_mark}{fragment}"
