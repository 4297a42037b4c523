"""What stands for a URI outside of the spec: in statuses, Events and annotations, which more people read."""

import hashlib
import re

from embedding_runtime.contract import without_secrets, without_user

__all__ = ["identity"]

_DIGEST = re.compile(r"(?<=\?\*\*\*)-[0-9a-f]{8}(?=#|$)")


def identity(uri: str) -> str:
    """The URI itself, where it hides nothing; else *** for its secrets, with a digest that tells signed URLs apart.

    The digest excludes the user and the password, because a reader of the status could guess passwords and compare. It
    includes the query: signatures and tokens are random, and too long to guess.
    """
    given = _DIGEST.sub("", uri)  # of an identity, which is its own
    if without_secrets(given) == given:
        return uri
    shown, public = without_secrets(uri), without_user(uri)
    if shown == public:
        return shown
    place, hash_mark, fragment = shown.partition("#")
    digest = hashlib.sha256(public.encode()).hexdigest()[:8]
    return f"{place.removesuffix('?***')}?***-{digest}{hash_mark}{fragment}"
