"""The sources of models, a module each.

A new scheme is a type of URI in the contract, a module here with `open_source(uri, environ)`, and its line below. The
module is imported only for a URI of its kind.
"""

import importlib
from collections.abc import Mapping

from embedding_runtime.contract import (
    FileUri,
    HttpUri,
    HuggingFaceUri,
    ModelScopeUri,
    ModelUri,
    ObjectStoreUri,
    OciUri,
    PvcUri,
)
from embedding_runtime.storage.source import Source

__all__ = ["open_source"]

_MODULES: Mapping[type[ModelUri], str] = {
    FileUri: "local",
    HttpUri: "http",
    HuggingFaceUri: "hugging_face",
    ModelScopeUri: "modelscope",
    ObjectStoreUri: "object_store",
    OciUri: "oci",
    PvcUri: "local",
}


def open_source(uri: ModelUri, environ: Mapping[str, str]) -> Source:
    """The source for a URI. Raises NoModel for settings in `environ` that are not valid."""
    module = importlib.import_module(f"{__name__}.{_MODULES[type(uri)]}")
    source: Source = module.open_source(uri, environ)
    return source
