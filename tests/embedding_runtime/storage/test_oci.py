"""oci://: artifacts and images, in a registry that runs here."""

import gzip
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from backports import zstd

from embedding_runtime.contract import MODEL_NOTE
from support.initializer import A_POINTER, MODEL, download, files_of
from support.registry import IMAGE, INDEX, Registry, a_layer, a_registry, of_file
from support.scripted_server import Answer, serving

ARTIFACT = [of_file(name, content) for name, content in MODEL.items()]
IN_MODELS = {f"models/{name}": content for name, content in MODEL.items()}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with a_registry(tmp_path_factory.mktemp("registry")) as registry:
        yield registry


def test_an_artifact_is_downloaded_by_the_names_of_its_layers(registry: Registry, tmp_path: Path) -> None:
    digest = registry.push("models/minilm", [*ARTIFACT, of_file("onnx/model.onnx", b"graph")], "v1")
    uri = f"oci://{registry.host}/models/minilm:v1"
    outcome = download(uri, tmp_path / "mnt/models", {})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "mnt") == {f"models/{name}": content for name, content in MODEL.items()}
    assert f"of {uri} at {digest}" in outcome.log
    assert json.loads((tmp_path / "mnt/models" / MODEL_NOTE).read_text())["revision"] == digest


def test_a_digest_names_one_version(registry: Registry, tmp_path: Path) -> None:
    digest = registry.push("moving", ARTIFACT)
    registry.push("moving", [of_file("config.json", b"other")])
    assert download(f"oci://{registry.host}/moving@{digest}", tmp_path / "models", {}).code == 0
    assert files_of(tmp_path / "models") == MODEL


@pytest.mark.parametrize("compression", ["", "gz"])
def test_the_model_of_an_image_is_unpacked(registry: Registry, tmp_path: Path, compression: str) -> None:
    registry.push("modelcar", [a_layer({"etc/passwd": b"", **IN_MODELS}, compression)])
    outcome = download(f"oci://{registry.host}/modelcar", tmp_path / "models", {})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


def test_a_layer_of_zstd_is_unpacked(registry: Registry, tmp_path: Path) -> None:
    descriptor, content = a_layer(IN_MODELS)
    media_type = f"{descriptor['mediaType']}+zstd"
    registry.push("zstd", [({"mediaType": media_type}, zstd.compress(content))])
    assert download(f"oci://{registry.host}/zstd", tmp_path / "models", {}).code == 0
    assert files_of(tmp_path / "models") == MODEL


def test_an_image_may_have_the_model_at_its_top(registry: Registry, tmp_path: Path) -> None:
    registry.push("top", [a_layer(MODEL)])
    assert download(f"oci://{registry.host}/top", tmp_path / "models", {}).code == 0
    assert files_of(tmp_path / "models") == MODEL


def test_what_is_beside_the_model_in_an_image_does_not_matter(registry: Registry, tmp_path: Path) -> None:
    link, device = tarfile.TarInfo("bin/sh"), tarfile.TarInfo("dev/null")
    link.type, link.linkname, device.type = tarfile.SYMTYPE, "/bin/busybox", tarfile.CHRTYPE
    registry.push("busybox", [a_layer([link, device]), a_layer(IN_MODELS)])
    outcome = download(f"oci://{registry.host}/busybox", tmp_path / "models", {})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


def test_a_link_in_the_model_of_an_image_is_refused(registry: Registry, tmp_path: Path) -> None:
    link = tarfile.TarInfo("models/config.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    registry.push("linked", [a_layer(IN_MODELS), a_layer([link])])
    outcome = download(f"oci://{registry.host}/linked", tmp_path / "mnt/models", {})
    assert outcome.code == 1
    assert "layer-1.tar has a member 'models/config.json' that is a symbolic link" in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_upper_layers_replace_and_remove_files(registry: Registry, tmp_path: Path) -> None:
    lower = {**IN_MODELS, "models/config.json": b"old", "models/old/model.safetensors": b"old"}
    upper = {"models/config.json": MODEL["config.json"], "models/.wh.old": b""}
    registry.push("whiteout", [a_layer(lower), a_layer(upper, "gz")])
    assert download(f"oci://{registry.host}/whiteout", tmp_path / "models", {}).code == 0
    assert files_of(tmp_path / "models") == MODEL


def test_a_directory_that_oras_packed_is_unpacked(registry: Registry, tmp_path: Path) -> None:
    notes = {"org.opencontainers.image.title": "minilm", "io.deis.oras.content.unpack": "true"}
    packed = a_layer({f"minilm/{name}": content for name, content in MODEL.items()}, "gz", annotations=notes)
    registry.push("directory", [packed])
    outcome = download(f"oci://{registry.host}/directory", tmp_path / "models", {})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


def test_a_model_package_may_have_files_and_tars(registry: Registry, tmp_path: Path) -> None:
    tar = a_layer({name: content for name, content in MODEL.items() if name != "config.json"})[1]
    weights = {
        "mediaType": "application/vnd.cncf.model.weight.v1.tar",
        "annotations": {"org.cncf.model.filepath": "weights"},
    }
    config = {
        "mediaType": "application/vnd.cncf.model.weight.config.v1.raw",
        "annotations": {"org.cncf.model.filepath": "config.json"},
    }
    registry.push("package", [(weights, tar), (config, MODEL["config.json"])])
    outcome = download(f"oci://{registry.host}/package", tmp_path / "models", {})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL


def test_an_archive_that_is_the_only_file_is_unpacked(registry: Registry, tmp_path: Path) -> None:
    registry.push("archive", [of_file("minilm.tgz", gzip.compress(a_layer(MODEL)[1]), "application/gzip")])
    assert download(f"oci://{registry.host}/archive", tmp_path / "models", {}).code == 0
    assert files_of(tmp_path / "models") == MODEL


@pytest.mark.parametrize(
    ("platforms", "chosen"),
    [
        (["arm64", "amd64"], "amd64"),
        (["amd64", None], None),
        (["arm64"], "arm64"),
        (["unknown", "amd64"], "amd64"),
    ],
)
def test_of_an_index_the_image_for_all_platforms_or_for_amd64_is_used(
    registry: Registry, tmp_path: Path, platforms: list[str | None], chosen: str | None
) -> None:
    manifests = []
    for name in platforms:
        manifest = registry.manifest("index", [*ARTIFACT, of_file("README.md", str(name).encode())])
        size, digest = len(json.dumps(manifest)), registry.push_manifest("index", manifest, tag=None)
        os = "unknown" if name == "unknown" else "linux"
        platform = {"platform": {"os": os, "architecture": name}} if name else {}
        manifests.append({"mediaType": IMAGE, "digest": digest, "size": size, **platform})
    registry.push_manifest("index", {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})
    outcome = download(f"oci://{registry.host}/index", tmp_path / "models", {})
    assert outcome.code == 0, outcome.log
    assert (tmp_path / "models/README.md").read_text() == str(chosen)


@pytest.mark.parametrize("reference", ["gone", "models/minilm:gone", f"models/minilm@sha256:{'0' * 64}"])
def test_what_is_not_there_is_not_found(registry: Registry, tmp_path: Path, reference: str) -> None:
    uri = f"oci://{registry.host}/{reference}"
    outcome = download(uri, tmp_path / "models", {})
    assert outcome.code == 1
    assert outcome.last_line.startswith(f"ModelNotFound: {uri}: http://{registry.host}: the server answered 404")
    assert "retrying" not in outcome.log


def test_a_git_lfs_pointer_in_an_artifact_is_refused(registry: Registry, tmp_path: Path) -> None:
    registry.push("pointer", [of_file("config.json", b"{}"), of_file("model.safetensors", A_POINTER)])
    outcome = download(f"oci://{registry.host}/pointer", tmp_path / "models", {})
    assert outcome.code == 1
    assert "model.safetensors is a Git LFS pointer" in outcome.last_line


HOSTILE: Mapping[str, tuple[list[tuple[Mapping[str, object], bytes]], str]] = {
    "a title that leads out": ([*ARTIFACT, of_file("../x", b"")], "the name '../x' has an empty part, '.' or '..'"),
    "an absolute title": ([*ARTIFACT, of_file("/etc/x", b"")], "the name '/etc/x' is absolute"),
    "a title with a control character": ([*ARTIFACT, of_file("a\nb", b"")], "has a control character"),
    "a title twice": ([*ARTIFACT, of_file("config.json", b"")], "'config.json' is listed twice"),
    "titles that differ in case": ([*ARTIFACT, of_file("CONFIG.json", b"")], "are one file where case does not count"),
    "a file and a directory": ([*ARTIFACT, of_file("config.json/x", b"")], "is a file and a directory"),
    "a layer without a name": ([({"mediaType": "text/plain"}, b"")], "layer 0 of type text/plain has no name"),
    "a directory that is no tar": (
        [({"mediaType": "text/plain", "annotations": {"io.deis.oras.content.unpack": "true"}}, b"")],
        "layer 0 of type text/plain has no name and is no tar",
    ),
    "a layer that is no tar": ([({"mediaType": "x.tar+gzip"}, b"<html>")], "layer-0.tar.gz is damaged"),
    "a member that leads out": ([a_layer({"models/../../x": b""})], "an empty part, '.' or '..'"),
    "layers that differ in case": (
        [a_layer(IN_MODELS), a_layer({"models/Config.json": b""})],
        "are one file where case does not count",
    ),
    "no layers": ([], "is not a model"),
}


@pytest.mark.parametrize(("layers", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_manifest_is_refused_in_words(
    registry: Registry, tmp_path: Path, layers: list[tuple[Mapping[str, object], bytes]], words: str
) -> None:
    registry.push("hostile", layers)
    outcome = download(f"oci://{registry.host}/hostile", tmp_path / "mnt/models", {})
    assert outcome.code == 1
    assert words in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"mnt"}


def test_a_manifest_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    with serving(lambda _: Answer(content=b'{"schemaVersion":' * 100_000)) as url:
        outcome = download(f"oci://{url.removeprefix('http://')}/model", tmp_path / "models", {})
    assert "has no manifest there that can be read (ValueError: it is nested too deeply)" in outcome.last_line


def test_a_damaged_blob_is_refused(tmp_path: Path) -> None:
    with a_registry(tmp_path / "registry") as registry:
        registry.push("damaged", ARTIFACT)
        (blob,) = (path for path in (tmp_path / "registry").rglob("data") if path.stat().st_size > 1_000_000)
        blob.write_bytes(bytes(blob.stat().st_size))
        outcome = download(f"oci://{registry.host}/damaged", tmp_path / "mnt/models", {})
    assert outcome.code == 1
    assert "the checksum of model.safetensors is sha256 " in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_the_limits_are_for_all_layers_together(registry: Registry, tmp_path: Path) -> None:
    layers = [a_layer({f"models/{name}": content}) for name, content in MODEL.items()]
    registry.push("many", layers)
    uri = f"oci://{registry.host}/many"
    assert download(uri, tmp_path / "models", {"ARCHIVE_MAX_FILES": str(len(layers))}).code == 0
    outcome = download(uri, tmp_path / "other", {"ARCHIVE_MAX_FILES": str(len(layers) - 1)})
    assert "raise ARCHIVE_MAX_FILES" in outcome.last_line
