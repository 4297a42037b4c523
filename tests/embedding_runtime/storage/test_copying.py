import io
import resource
from pathlib import Path, PurePosixPath

import pytest

from embedding_runtime.contract import RETRY_IS_USELESS, DownloadVerdict
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.fetch import fetch
from embedding_runtime.storage.log import Log
from support.initializer import A_POINTER, MODEL, a_model, files_of, initialize


def test_only_files_that_backends_read_are_copied(tmp_path: Path) -> None:
    source = a_model(tmp_path / "source", {**MODEL, "onnx/model.onnx": b"graph", ".git/HEAD": b"ref"})
    outcome = initialize(f"file://{source}", tmp_path / "models")
    assert outcome.code == 0
    assert files_of(tmp_path / "models") == dict(MODEL)
    assert outcome.last_line.startswith(f"downloaded file://{source} to {tmp_path / 'models'}: 2.0 MB in ")


def test_links_are_followed_as_in_a_hugging_face_cache(tmp_path: Path) -> None:
    blobs, snapshot, copy = a_model(tmp_path / "blobs"), tmp_path / "snapshot", tmp_path / "copy"
    for name in MODEL:
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blobs / name)
    fetch(f"file://{snapshot}", copy, {}, Log(io.StringIO(), ()))
    assert files_of(copy) == dict(MODEL)
    assert not any(path.is_symlink() for path in copy.rglob("*"))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (None, "does not exist"),
        ({}, "has neither config.json nor modules.json"),
        ({"readme.md": b""}, "has neither config.json nor modules.json"),
    ],
)
def test_a_place_without_a_model_is_not_found(files: dict[str, bytes] | None, words: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    if files is not None:
        source.mkdir()
        a_model(source, files)
    outcome = initialize(f"file://{source}", tmp_path / "models")
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith(f"ModelNotFound: file://{source}")
    assert words in outcome.last_line
    assert not (tmp_path / "models").exists()


def test_a_file_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(NoModel, match="is not a directory") as caught:
        fetch(f"file://{tmp_path}/model.safetensors", tmp_path / "models", {}, Log(io.StringIO(), ()))
    assert caught.value.failed.verdict is DownloadVerdict.MODEL_NOT_FOUND


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_git_lfs_pointer_is_reported_with_its_file_and_a_remedy(name: str, tmp_path: Path) -> None:
    source = a_model(tmp_path / "source", {**MODEL, name: A_POINTER})
    outcome = initialize(f"file://{source}", tmp_path / "models")
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line == (
        f"ModelNotFound: file://{source} is not a complete model: {source / name} is a Git LFS pointer to a file of "
        "90868376 bytes, which was not downloaded: run `git lfs pull` in the repository that it was copied from, or "
        "download the model from its hub (hf://owner/name)"
    )
    assert not (tmp_path / "models").exists()


def test_a_pointer_that_no_backend_reads_is_ignored(tmp_path: Path) -> None:
    pointers = dict.fromkeys(["onnx/model.onnx", "pytorch_model.bin", "openvino/model.bin", "card.png"], A_POINTER)
    source = a_model(tmp_path / "source", {**MODEL, **pointers})
    assert initialize(f"file://{source}", tmp_path / "models").code == 0


def test_a_claim_is_read_through_its_mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedding_runtime.storage.sources.local.PVC_ROOT", PurePosixPath(tmp_path / "pvc"))
    a_model(tmp_path / "pvc" / "models" / "minilm")
    fetch("pvc://models/minilm", tmp_path / "mnt" / "models", {}, Log(io.StringIO(), ()))
    assert files_of(tmp_path / "mnt" / "models") == dict(MODEL)


def test_a_claim_is_read_from_its_mount_point(tmp_path: Path) -> None:
    outcome = initialize("pvc://no-such-claim/minilm", tmp_path / "models")
    assert outcome.code == RETRY_IS_USELESS
    words = "ModelNotFound: pvc://no-such-claim/minilm: /pvc/no-such-claim/minilm does not exist"
    assert outcome.last_line == words


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path: Path) -> None:
    source = a_model(tmp_path / "source")
    with (source / "model.safetensors").open("wb") as stream:
        stream.truncate(1_000_000_000)

    def little_memory() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (400_000_000, 400_000_000))  # of which stacks are a hundred

    outcome = initialize(f"file://{source}", tmp_path / "models", before=little_memory)
    assert outcome.code == 0, outcome.log


def test_a_broken_link_fails_the_copy_and_leaves_nothing(tmp_path: Path) -> None:
    source = a_model(tmp_path / "source")
    (source / "vocab.txt").symlink_to(tmp_path / "gone")
    outcome = initialize(f"file://{source}", tmp_path / "models")
    assert outcome.code == 1
    assert outcome.last_line.startswith(f"DownloadFailed: file://{source} cannot be copied: ")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
