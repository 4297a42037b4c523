"""s3://, gs:// and az:// against servers that run here: moto, fake-gcs-server and Azurite."""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest

from embedding_runtime.contract import MODEL_NOTE, RETRY_IS_USELESS, ObjectStoreUri
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.sources.object_store import open_source
from support.initializer import A_POINTER, MODEL, Outcome, files_of, initialize
from support.storage_servers import STORES, StoreServer, running, s3_request


@pytest.fixture(scope="module", params=STORES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with running(request.param, tmp_path_factory.mktemp(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with running("s3", tmp_path_factory.mktemp("s3")) as server:
        yield server


def download(server: StoreServer, uri: str, into: Path, **environ: str) -> Outcome:
    return initialize(uri, into, environ={**server.environment(server.port), **environ})


def test_the_objects_below_a_prefix_are_downloaded(server: StoreServer, tmp_path: Path) -> None:
    odd = {"a b/ü%20.txt": b"odd", "onnx/model.onnx": b"graph"}
    uri = server.put("models/minilm", {**MODEL, **odd})
    server.put("models/minilm-2", MODEL)
    outcome = download(server, uri, tmp_path / "mnt/models")
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "mnt") == {
        f"models/{name}": content for name, content in {**MODEL, "a b/ü%20.txt": b"odd"}.items()
    }
    assert outcome.last_line.startswith(f"downloaded {uri} to {tmp_path}/mnt/models: 2.0 MB in ")
    assert outcome.last_line.endswith("/s), 6 files")


@pytest.mark.parametrize("prefix", ["archives/of/models", "top"])
def test_an_archive_is_unpacked(server: StoreServer, tmp_path: Path, prefix: str) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in MODEL.items():
            archive.writestr(f"minilm/{name}", content)
    uri = server.put(prefix, {"minilm.zip": out.getvalue()})
    outcome = download(server, f"{uri}/minilm.zip", tmp_path / "models")
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


def test_a_public_bucket_needs_no_keys(s3: StoreServer, tmp_path: Path) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SKIP_SIGNATURE": "true"}
    uri = s3.put("public", MODEL)
    assert download(s3, uri, tmp_path / "refused", **keys).last_line.startswith("ModelUnauthorized: ")
    for name in MODEL:
        s3_request("PUT", f"http://127.0.0.1:{s3.port}/bucket/public/{name}?acl", {"x-amz-acl": "public-read"})
    assert download(s3, uri, tmp_path / "models", **keys).code == 0


def test_a_prefix_without_objects_is_not_found(server: StoreServer, tmp_path: Path) -> None:
    server.put("other", MODEL)
    uri = f"{server.scheme}://bucket/gone"
    outcome = download(server, uri, tmp_path / "mnt/models")
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith(f"ModelNotFound: {uri}: "), outcome.log
    assert "has neither objects below 'gone' nor one of that name" in outcome.last_line
    assert "retrying" not in outcome.log
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_bucket_that_does_not_exist_is_not_found(server: StoreServer, tmp_path: Path) -> None:
    if server.scheme == "gs":
        pytest.skip("fake-gcs-server answers 500, unlike Google")
    outcome = download(server, f"{server.scheme}://gone/model", tmp_path / "models")
    assert outcome.last_line.startswith("ModelNotFound: "), outcome.log


def test_directories_that_a_console_made_are_not_files(s3: StoreServer, tmp_path: Path) -> None:
    uri = s3.put("folders", {**MODEL, "1_Pooling": b""})
    assert download(s3, uri, tmp_path / "models").code == 0
    assert files_of(tmp_path / "models") == dict(MODEL)


def test_a_git_lfs_pointer_in_a_bucket_is_refused(s3: StoreServer, tmp_path: Path) -> None:
    uri = s3.put("pointer", {**MODEL, "model.safetensors": A_POINTER})
    outcome = download(s3, uri, tmp_path / "models")
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith(
        f"ModelNotFound: {uri} is not a complete model: {uri}/model.safetensors is a Git"
    )


def test_a_copy_of_a_downloaded_model_keeps_its_origin(s3: StoreServer, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    download(s3, s3.put("origin", MODEL), first)
    note = json.loads((first / MODEL_NOTE).read_text()) | {"uri": "hf://owner/name", "revision": "c0ffee"}
    s3.put("copy", {**MODEL, MODEL_NOTE: json.dumps(note).encode()})
    outcome = download(s3, "s3://bucket/copy", second)
    assert outcome.code == 0, outcome.log
    assert json.loads((second / MODEL_NOTE).read_text()) == note


def test_a_copy_that_is_not_what_its_note_says_is_refused(s3: StoreServer, tmp_path: Path) -> None:
    note = {"uri": "hf://owner/name", "files": {"config.json": {"size": 22, "sha256": "0" * 64}}}
    s3.put("bad-copy", {**MODEL, MODEL_NOTE: json.dumps(note).encode()})
    outcome = download(s3, "s3://bucket/bad-copy", tmp_path / "mnt/models")
    assert outcome.code == RETRY_IS_USELESS
    assert f"but embedding-model.json beside it says {'0' * 64}: copy the model again" in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_no_key_is_ever_shown(s3: StoreServer, tmp_path: Path) -> None:
    outcome = download(s3, "s3://gone/model", tmp_path / "models", AWS_SECRET_ACCESS_KEY="hush-hush")
    assert "hush-hush" not in outcome.log


def test_a_wrong_key_is_reported_with_what_to_set(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    with running("az", tmp_path_factory.mktemp("az")) as server:
        uri = server.put("model", MODEL)
        outcome = download(server, uri, tmp_path / "models", AZURE_STORAGE_ACCOUNT_KEY="aHVzaC1odXNo")
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith(f"ModelUnauthorized: {uri}: Azure Blob Storage, bucket bucket: ")
    assert "set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY" in outcome.last_line
    assert "aHVzaC1odXNo" not in outcome.log


def test_an_account_that_is_not_named_is_reported_with_what_to_set(tmp_path: Path) -> None:
    outcome = initialize("az://container/model", tmp_path / "models")
    assert outcome.code == 1
    assert "Account must be specified: set AZURE_STORAGE_ACCOUNT_NAME" in outcome.last_line


def test_an_object_that_changes_meanwhile_is_not_mixed_in(s3: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.environment(s3.port).items():
        monkeypatch.setenv(name, value)
    s3.put("changing", MODEL)
    source = open_source(ObjectStoreUri("s3", "bucket", "changing"), {})
    file = source.list().files["model.safetensors"]
    obstore.put(s3.store, "changing/model.safetensors", b"new", use_multipart=False)
    with pytest.raises(NoModel, match="a file changed while it was downloaded"):
        list(source.read(file, 0, 3))
