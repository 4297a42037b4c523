"""Listings that name files elsewhere, or lie about files: each is refused in words, and nothing is left."""

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_runtime.contract import FailedDownload
from embedding_runtime.storage.archive import BadArchive, Limits, unpack
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.http import endpoint_of
from embedding_runtime.storage.parse import parse_json
from support.fake_hub import FakeHub
from support.initializer import MODEL, Outcome, a_model, download, hub_environment
from support.scripted_server import Answer, serving
from support.web_server import WebServer

Entry = Mapping[str, object]


def named(name: object, size: object = 1) -> list[Entry]:
    return [{"rfilename": name, "size": size, "blobId": "0" * 40}]


HOSTILE: Mapping[str, tuple[Sequence[Entry], str]] = {
    "a name that leads out": (named("../x"), "an empty part, '.' or '..'"),
    "a name that leads out of a directory": (named("a/../../x"), "an empty part, '.' or '..'"),
    "an absolute name": (named("/etc/x"), "the name '/etc/x' is absolute"),
    "an absolute name of a host": (named("//host/x"), "is absolute"),
    "a name of Windows": (named("..\\x"), "has a backslash or a drive"),
    "a name with a drive": (named("C:/x"), "has a backslash or a drive"),
    "a name with an empty part": (named("a//b"), "an empty part"),
    "a name that ends with a slash": (named("a/"), "an empty part"),
    "a name with a control character": (named("a\x1b[2Jb"), "has a control character"),
    "a name with a NUL": (named("a\0b"), "has a control character"),
    "a name that is no Unicode": (named("a\ud800b"), "is not from a Hugging Face hub (UnicodeEncodeError"),
    "a name that is too long": (named("x" * 256), "is too long"),
    "a name that is too deep": (named("a/" * 40 + "x"), "is too long"),
    "a name twice": (named("x") + named("x"), "'x' is listed twice"),
    "names that differ in case": (named("Config.json"), "one file where case does not count"),
    "names that differ in composition": (named("\u00e9") + named("e\u0301"), "one file where case does not count"),
    "a file and a directory": (named("config.json/x"), "'config.json' is a file and a directory"),
    "a negative size": (named("x", -1), "'x' is listed with -1 bytes"),
    "a size that no file has": (named("x", 1 << 63), f"'x' is listed with {1 << 63} bytes"),
    "a size that no volume has": (named("x", 1 << 49), "but the volume has"),
    "a size of text": (named("x", "many"), "is not from a Hugging Face hub (ValueError"),
    "a size without a bound": (
        named("x", math.inf),
        "is not from a Hugging Face hub (ValueError: Infinity is not a finite",
    ),
    "no size": ([{"rfilename": "x"}], "is not from a Hugging Face hub (KeyError: 'size')"),
    "no name": ([{"size": 1}], "is not from a Hugging Face hub (KeyError: 'rfilename')"),
    "a size that is too small": (
        [{"rfilename": "tokenizer.json", "size": 3}],
        f"tokenizer.json has {len(MODEL['tokenizer.json'])} bytes, but 3 are listed",
    ),
    "a size that is too large": (
        [{"rfilename": "tokenizer.json", "size": 99}],
        f"tokenizer.json has {len(MODEL['tokenizer.json'])} bytes, but 99 are listed",
    ),
    "a wrong digest": (
        [{"rfilename": "config.json", "size": len(MODEL["config.json"]), "blobId": "0" * 40}],
        f"but {'0' * 40} is listed",
    ),
    "too many files": (
        [{"rfilename": f"{number}", "size": 0} for number in range(100_001)],
        "files are listed, and at most 100000 are downloaded",
    ),
    "a listing that does not end": (
        [{"rfilename": "x", "size": 0, "padding": "x" * (33 << 20)}],
        "(ValueError: a response of more than 33554432 bytes)",
    ),
}


@pytest.mark.parametrize(("entries", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_listing_is_refused_in_words(entries: Sequence[Entry], words: str, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.siblings.extend(entries)
        outcome = download("hf://owner/name", tmp_path / "mnt/models", hub_environment(hub))
    assert outcome.code == 1
    assert words in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"mnt", "served"}


LONG = "start" + "\u00e9" * 50_000 + "end"

LONG_NAMES: Mapping[str, tuple[Sequence[Entry], str]] = {
    "a name": (named(LONG) + named(LONG), "éend' is listed twice): check HF_ENDPOINT"),
    "a digest": (
        [{"rfilename": "config.json", "size": len(MODEL["config.json"]), "blobId": LONG}],
        "éend is listed, twice: upload the file again, or find out what changes it on its way",
    ),
    "a size": (named("x", int("9" * 4000)), "9 bytes: nothing was downloaded"),
}


@pytest.mark.parametrize(("entries", "end"), LONG_NAMES.values(), ids=LONG_NAMES)
def test_what_is_long_in_a_listing_is_shortened_in_the_message(
    entries: Sequence[Entry], end: str, tmp_path: Path
) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.siblings.extend(entries)
        outcome = download("hf://owner/name", tmp_path / "mnt/models", hub_environment(hub))
    check_short(outcome, "hf://owner/name", end)


def test_what_is_long_in_a_manifest_is_shortened_in_the_message(tmp_path: Path) -> None:
    manifest = {"schemaVersion": 2, "layers": [{"digest": f"sha256:{'0' * 64}", "size": 1, "mediaType": LONG}]}
    with serving(lambda _: Answer(content=json.dumps(manifest).encode())) as url:
        uri = f"oci://{url.removeprefix('http://')}/model"
        outcome = download(uri, tmp_path / "models", {})
    check_short(outcome, uri, "éend has no name and is no tar): check the URI")


def check_short(outcome: Outcome, uri: str, end: str) -> None:
    """The verdict is whole in a termination message, for which the kubelet takes the last 2048 bytes of the log."""
    assert outcome.code == 1
    failed = FailedDownload.from_log(outcome.log.encode()[-2048:].decode(errors="replace"))
    assert failed.message.startswith(f"{uri}: ")
    assert failed.message.endswith(end)


def test_a_zip_that_says_less_than_it_unpacks_to_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "x.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("config.json", bytes(1000))
    archive.write_bytes(archive.read_bytes().replace((1000).to_bytes(4, "little"), (10).to_bytes(4, "little")))
    with pytest.raises(BadArchive, match="is damaged"):
        unpack(archive, tmp_path / "into", Limits())


@pytest.mark.parametrize("commit", ["../../../../models/other", "", "x" * 300, "a b", "main\n"])
def test_a_commit_that_is_none_is_refused_in_words(commit: str, tmp_path: Path) -> None:
    with FakeHub({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.repositories["owner/name"] = replace(hub.repositories["owner/name"], commit=commit)
        outcome = download("hf://owner/name", tmp_path / "mnt/models", hub_environment(hub))
    assert outcome.code == 1
    assert "is not from a Hugging Face hub (ValueError: the commit " in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_another_commit_than_the_one_that_was_asked_for_is_refused(tmp_path: Path) -> None:
    asked, other = "c0ffee" + "0" * 34, "f" * 40
    answer = tmp_path / "web/api/models/owner/name/revision" / asked
    answer.parent.mkdir(parents=True)
    answer.write_text(json.dumps({"sha": other, "siblings": named("config.json")}))
    with WebServer(tmp_path / "web") as server:
        outcome = download(f"hf://owner/name:{asked}", tmp_path / "mnt/models", {"HF_ENDPOINT": server.url})
    assert outcome.code == 1
    assert f"it has commit {other} for {asked}): check HF_ENDPOINT" in outcome.last_line


@pytest.mark.parametrize("number", ["1e999", "-1e999", "Infinity", "NaN"])
def test_a_number_that_is_not_finite_is_refused_as_other_bad_json(number: str) -> None:
    with pytest.raises(ValueError, match="is not a finite number"):
        parse_json(f'{{"size": {number}}}')


@pytest.mark.parametrize("endpoint", ["http://[::1", "http://me:hush@host:99999", "http://me:hush/a@host"])
def test_an_endpoint_that_is_no_address_is_refused_and_its_password_is_not_shown(endpoint: str) -> None:
    with pytest.raises(NoModel, match="is not a URL of a hub: use https://host") as caught:
        endpoint_of({"HF_ENDPOINT": endpoint}, "HF_ENDPOINT", "")
    assert "hush" not in str(caught.value)
