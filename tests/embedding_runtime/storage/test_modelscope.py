"""ms://: repositories of ModelScope, from a fake of it."""

import json
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from embedding_runtime.contract import ModelScopeUri
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.sources.modelscope import ModelScopeSource
from support.fake_modelscope import FakeModelScope
from support.initializer import MODEL, a_model, download, files_of
from support.scripted_server import Answer, serving


@pytest.mark.parametrize("revision", ["", ":master", "@master"])
def test_a_repository_is_downloaded(tmp_path: Path, revision: str) -> None:
    served = a_model(tmp_path / "served", {**MODEL, "a b/ü&.txt": b"odd", "onnx/model.onnx": b"graph"})
    with FakeModelScope({"owner/name": served}) as hub:
        outcome = download(f"ms://owner/name{revision}", tmp_path / "mnt/models", {"MODELSCOPE_ENDPOINT": hub.url})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "mnt/models") == {**MODEL, "a b/ü&.txt": b"odd"}
    assert [path.name for path in (tmp_path / "mnt").iterdir()] == ["models"]


def test_the_token_is_sent_and_not_shown(tmp_path: Path) -> None:
    with FakeModelScope({"owner/name": a_model(tmp_path / "served")}, token="hush-hush") as hub:
        environ = {"MODELSCOPE_ENDPOINT": hub.url}
        refused = download("ms://owner/name", tmp_path / "models", environ)
        outcome = download("ms://owner/name", tmp_path / "models", environ | {"MODELSCOPE_API_TOKEN": "hush-hush"})
    assert refused.last_line == (
        f"ModelNotFound: ms://owner/name: {hub.url}: the server answered 404 Not Found; it has no owner/name at "
        "revision master, or it is private and was requested without a token (MODELSCOPE_API_TOKEN is not set): check "
        "the name and the token"
    )
    assert outcome.code == 0, outcome.log
    assert "hush" not in outcome.log


def test_a_revision_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with FakeModelScope({"owner/name": a_model(tmp_path / "served")}) as hub:
        outcome = download("ms://owner/name:v9", tmp_path / "models", {"MODELSCOPE_ENDPOINT": hub.url})
    assert "it has no owner/name at revision v9" in outcome.last_line
    assert "retrying" not in outcome.log


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"MODELSCOPE_ENDPOINT": "modelscope.cn"}, "MODELSCOPE_ENDPOINT=modelscope.cn is not a URL of a hub"),
        ({"MODELSCOPE_API_TOKEN": "hush\nhush"}, "MODELSCOPE_API_TOKEN has a character that is not valid"),
    ],
)
def test_settings_that_are_not_valid_are_refused(environ: Mapping[str, str], words: str, tmp_path: Path) -> None:
    outcome = download("ms://owner/name", tmp_path / "models", environ)
    assert words in outcome.last_line
    assert "hush" not in outcome.log


def _entry(**changes: object) -> dict[str, object]:
    return {"Path": "x", "Size": 1, "Sha256": "0" * 64, "Type": "blob"} | changes


HOSTILE: Mapping[str, tuple[Mapping[str, object], str]] = {
    "a path that leads out": (_entry(Path="../x"), "the name '../x' has an empty part, '.' or '..'"),
    "an absolute path": (_entry(Path="/etc/x"), "the name '/etc/x' is absolute"),
    "a path twice": (_entry(Path="config.json"), "'config.json' is listed twice"),
    "paths that differ in case": (_entry(Path="Config.json"), "are one file where case does not count"),
    "a negative size": (_entry(Size=-1), "'x' is listed with -1 bytes"),
    "a size of text": (_entry(Size="many"), "is not from ModelScope (ValueError"),
    "no path": ({"Type": "blob", "Size": 1}, "is not from ModelScope (KeyError: 'Path')"),
}


@pytest.mark.parametrize(("entry", "words"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_listing_is_refused_in_words(entry: Mapping[str, object], words: str, tmp_path: Path) -> None:
    with FakeModelScope({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.extra.append(entry)
        outcome = download("ms://owner/name", tmp_path / "mnt/models", {"MODELSCOPE_ENDPOINT": hub.url})
    assert words in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_listing_that_may_be_cut_off_is_refused(tmp_path: Path) -> None:
    with FakeModelScope({"owner/name": a_model(tmp_path / "served")}) as hub:
        hub.extra.extend(_entry(Path=f"{number}") for number in range(3000))
        outcome = download("ms://owner/name", tmp_path / "models", {"MODELSCOPE_ENDPOINT": hub.url})
    assert "it has 3000 files or more, and ModelScope lists no more than these" in outcome.last_line


def test_a_refusal_in_an_answer_that_says_200_is_a_refusal() -> None:
    body = json.dumps({"Code": 403, "Message": "no access", "Success": False}).encode()
    with (
        serving(lambda _: Answer(content=body)) as url,
        closing(ModelScopeSource(ModelScopeUri("owner/name"), url, None, None)) as source,
        pytest.raises(NoModel, match="the server answered 403 no access; it was requested without"),
    ):
        source.list()


def test_a_listing_that_is_nested_too_deeply_is_refused() -> None:
    with (
        serving(lambda _: Answer(content=b'{"Code":' * 100_000)) as url,
        closing(ModelScopeSource(ModelScopeUri("owner/name"), url, None, None)) as source,
        pytest.raises(NoModel, match=r"is not from ModelScope .*nested too deeply"),
    ):
        source.list()
