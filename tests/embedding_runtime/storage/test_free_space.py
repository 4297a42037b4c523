"""A download that the kubelet would evict the pod for is refused before its first byte."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_runtime.contract import RETRY_IS_USELESS, STORAGE_LIMIT_VARIABLE
from support.fake_hub import FakeHub
from support.initializer import MODEL, Outcome, a_model, hub_environment, initialize

MODEL_BYTES = sum(map(len, MODEL.values()))  # 2.0 MB
SLACK = 64 << 10
"""Files take whole blocks, and there are a few small ones beside the model's."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[FakeHub]:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        yield hub


def fetched(hub: FakeHub, directory: Path, limit: object, *parts: object) -> Outcome:
    environ = {**hub_environment(hub), STORAGE_LIMIT_VARIABLE: str(limit)}
    return initialize("hf://owner/name", directory, *parts, environ=environ)


def downloads(hub: FakeHub) -> int:
    return sum("/resolve/" in request.path for request in hub.seen)


def test_a_limit_below_the_model_s_size_is_named_before_the_download(hub: FakeHub, tmp_path: Path) -> None:
    outcome = fetched(hub, tmp_path / "mnt/models", 1_000_000)
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line == (
        "InsufficientStorage: hf://owner/name: it needs 2.0 MB, but 1.0 MB are left of the pod's 1.0 MB of "
        "ephemeral-storage: raise that limit"
    )
    assert downloads(hub) == 0


def test_what_is_on_the_volume_counts(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    (tmp_path / "mnt/other").write_bytes(bytes(1 << 20))
    outcome = fetched(hub, tmp_path / "mnt/models", MODEL_BYTES + SLACK)
    assert outcome.last_line.startswith("InsufficientStorage: hf://owner/name: it needs 2.0 MB, but 1.")
    assert downloads(hub) == 0


def test_a_part_must_fit_beside_its_model(hub: FakeHub, tmp_path: Path) -> None:
    part = tmp_path / "mnt/models/2_Dense"
    outcome = fetched(hub, tmp_path / "mnt/models", MODEL_BYTES + SLACK, "hf://owner/name", part)
    assert "it needs 2.0 MB, but 0.0 MB are left of the pod's 2.1 MB" in outcome.last_line
    assert not part.exists()


def test_a_model_that_fits_is_downloaded(hub: FakeHub, tmp_path: Path) -> None:
    outcome = fetched(hub, tmp_path / "mnt/models", MODEL_BYTES + SLACK)
    assert outcome.code == 0, outcome.log


def test_a_limit_that_is_no_number_is_refused(hub: FakeHub, tmp_path: Path) -> None:
    outcome = fetched(hub, tmp_path / "mnt/models", "2Gi")
    assert "EPHEMERAL_STORAGE_LIMIT is '2Gi', which is not a whole number of bytes" in outcome.last_line
