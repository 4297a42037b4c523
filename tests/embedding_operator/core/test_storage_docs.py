"""The storage containers in docs/storage.md are valid, and are chosen for the URIs that they are for."""

import re
from pathlib import Path

import pytest
import yaml

from embedding_operator.core.storage import match, read
from embedding_runtime.contract import SCHEMES

PAGE = (Path(__file__).parents[3] / "docs" / "storage.md").read_text()
CONTAINERS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://bucket/model", "s3"),
        ("gs://bucket/model", "gcs"),
        ("az://container/model", "azure"),
        ("https://me.blob.core.windows.net/container/model", "azure"),
        ("https://artifacts.example.com/model.tar.gz", "artifacts"),
        ("https://elsewhere.example.com/model.tar.gz", None),
        ("oci://registry.example.com/minilm:v1", "registry"),
        ("hf://owner/name", "mirror"),
        ("pvc://claim/model", None),
    ],
)
def test_the_storage_container_of_the_page_is_chosen(uri: str, name: str | None) -> None:
    selection = match(uri, "default", [read(container) for container in CONTAINERS])
    assert selection.problem is None
    assert selection.fetcher is not None
    assert selection.fetcher.name == name
    assert selection.fetcher.is_ours


def test_the_page_has_all_schemes() -> None:
    for scheme in SCHEMES:
        assert f"`{scheme}" in PAGE
