"""Where a model comes from, as far as the environment says: models of two origins never share an entry of a cache.

A commit that one server gives may be forged for another.
"""

import re
from collections.abc import Mapping

from embedding_runtime.contract import HuggingFaceUri, ModelScopeUri, ModelUri, ObjectStoreUri, without_secrets

__all__ = ["origin_of"]

_PUBLIC = {"HF_ENDPOINT": "https://huggingface.co", "MODELSCOPE_ENDPOINT": "https://www.modelscope.cn"}
_VARIABLES = {
    "hf": re.compile(r"HF_ENDPOINT"),
    "ms": re.compile(r"MODELSCOPE_ENDPOINT"),
    "s3": re.compile(r"AWS_.*ENDPOINT.*"),
    "gs": re.compile(r"GOOGLE_.*(BASE_URL|ENDPOINT).*"),
    "az": re.compile(r"AZURE_.*(ENDPOINT|ACCOUNT_NAME|EMULATOR).*"),
}


def origin_of(uri: ModelUri, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that name another server than the scheme's own, with their values but for credentials. None for
    URIs that name their server.
    """
    if (variables := _VARIABLES.get(_scheme_of(uri))) is None:
        return ()
    found = {name: value.rstrip("/") for name, value in environ.items() if variables.fullmatch(name)}
    return tuple(
        f"{name}={without_secrets(value)}"
        for name, value in sorted(found.items())
        if value and value != _PUBLIC.get(name)
    )


def _scheme_of(uri: ModelUri) -> str:
    match uri:
        case HuggingFaceUri():
            return "hf"
        case ModelScopeUri():
            return "ms"
        case ObjectStoreUri():
            return uri.scheme
    return ""
