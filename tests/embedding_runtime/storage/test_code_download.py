"""Python code that a model's files name in other repositories: downloaded only if it is trusted, at one commit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import CODE_VARIABLE, MODEL_NOTE, RETRY_IS_USELESS
from embedding_runtime.remote_code import commit_of
from support.fake_hub import FakeHub
from support.initializer import MODEL, Outcome, a_model, files_of, hub_environment, initialize

CODE = {"modeling.py": b"class Model: ...", "layers.py": b"", "weights.bin": b"none of this", "README.md": b""}
AUTO_MAP = {"AutoConfig": "owner/code--modeling.Config", "AutoModel": "owner/code--modeling.Model"}


def a_model_naming(directory: Path, auto_map: Any, **files: Any) -> Path:
    given = {"config.json": {"model_type": "novel", "auto_map": auto_map}, **files}
    return a_model(directory, {**MODEL, **{name: json.dumps(content).encode() for name, content in given.items()}})


def download(hub: FakeHub, into: Path, *, trusted: bool = True, token: str | None = None) -> Outcome:
    environ = hub_environment(hub, token) | ({CODE_VARIABLE: "true"} if trusted else {})
    return initialize("hf://owner/name", into, environ=environ)


def code_in(model: Path, commit: str, repository: str = "owner--code") -> Mapping[str, bytes]:
    place = f"remote_code/models--{repository}/snapshots/{commit}/"
    files = files_of(model).items()
    return {name.removeprefix(place): content for name, content in files if name.startswith(place)}


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return a_model(tmp_path / "code", CODE)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return a_model_naming(tmp_path / "served", AUTO_MAP)


def test_trusted_code_of_another_repository_comes_with_the_model(tmp_path: Path, model: Path, code: Path) -> None:
    with FakeHub({"owner/name": model, "owner/code": code}) as hub:
        outcome = download(hub, tmp_path / "models")
        name, commit = (hub.repositories[each].commit for each in ("owner/name", "owner/code"))
    assert outcome.code == 0, outcome.log
    assert code_in(tmp_path / "models", commit) == {"modeling.py": b"class Model: ...", "layers.py": b""}
    assert commit_of(tmp_path / "models", "owner/code") == commit
    note = json.loads((tmp_path / "models" / MODEL_NOTE).read_text())
    code_files = {path for path in note.pop("files") if path.startswith("remote_code/")}
    assert note == {"uri": "hf://owner/name", "revision": name, "code": {"owner/code": commit}}
    place = f"remote_code/models--owner--code/snapshots/{commit}"
    assert code_files == {f"{place}/modeling.py", f"{place}/layers.py"}
    assert outcome.last_line.endswith(f" files, with the code of owner/code at commit {commit}")
    assert json.loads((tmp_path / "models/config.json").read_text())["auto_map"] == AUTO_MAP


def test_without_trust_no_other_repository_is_asked_for(tmp_path: Path, model: Path, code: Path) -> None:
    with FakeHub({"owner/name": model, "owner/code": code}) as hub:
        outcome = download(hub, tmp_path / "models", trusted=False)
        assert not [request for request in hub.seen if "owner/code" in request.path]
    assert outcome.code == 0
    assert files_of(tmp_path / "models") == files_of(model)


def test_a_commit_during_the_download_is_not_mixed_in(tmp_path: Path, model: Path, code: Path) -> None:
    with FakeHub({"owner/name": model, "owner/code": code}) as hub:
        before = hub.repositories["owner/code"].commit
        hub.moves["owner/code"] = a_model(tmp_path / "new", {**CODE, "modeling.py": b"another"})
        outcome = download(hub, tmp_path / "models")
        assert hub.repositories["owner/code"].commit != before
    assert outcome.code == 0, outcome.log
    assert code_in(tmp_path / "models", before)["modeling.py"] == b"class Model: ..."
    assert commit_of(tmp_path / "models", "owner/code") == before


@pytest.mark.parametrize("arguments", ["model_args", "model_kwargs"])
def test_the_revision_that_the_models_settings_name_is_downloaded(tmp_path: Path, code: Path, arguments: str) -> None:
    with FakeHub({"owner/name": code, "owner/code": code}) as hub:
        old = hub.repositories["owner/code"].commit
        settings = {"sentence_bert_config.json": {arguments: {"code_revision": old}}}
        hub.push("owner/name", a_model_naming(tmp_path / "served", AUTO_MAP, **settings))
        hub.push("owner/code", a_model(tmp_path / "new", {**CODE, "modeling.py": b"another"}))
        outcome = download(hub, tmp_path / "models")
    assert outcome.code == 0, outcome.log
    assert commit_of(tmp_path / "models", "owner/code") == old


def test_modules_of_sentence_transformers_and_their_directories_name_code_too(tmp_path: Path, code: Path) -> None:
    modules = [
        {"type": "owner/module--modeling.Module", "path": "0_Body"},
        {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
    ]
    body = {"model_type": "novel", "auto_map": AUTO_MAP}
    model = a_model_naming(tmp_path / "served", {}, **{"modules.json": modules, "0_Body/config.json": body})
    with FakeHub({"owner/name": model, "owner/code": code, "owner/module": code}) as hub:
        assert download(hub, tmp_path / "models").code == 0
    for repository in ("owner/code", "owner/module"):
        assert commit_of(tmp_path / "models", repository) is not None


def test_code_in_the_models_own_repository_has_the_models_commit(tmp_path: Path) -> None:
    model = a_model_naming(tmp_path / "served", {"AutoModel": "owner/name--modeling.Model"})
    a_model(model, {"modeling.py": b"mine"})
    with FakeHub({"owner/name": model}) as hub:
        commit = hub.repositories["owner/name"].commit
        hub.moves["owner/name"] = a_model(tmp_path / "new", {**MODEL, "modeling.py": b"another"})
        outcome = download(hub, tmp_path / "models")
    assert outcome.code == 0, outcome.log
    assert code_in(tmp_path / "models", commit, "owner--name") == {"modeling.py": b"mine"}


@pytest.mark.parametrize(
    ("token", "gated", "verdict", "words"),
    [
        (None, False, "ModelNotFound", "has no repository owner/code, or it is private and HF_TOKEN is not set"),
        ("hf_secret", False, "ModelNotFound", "has no repository owner/code, or it is private and the token"),
        ("hf_secret", True, "ModelUnauthorized", "owner/code at {url} is gated, and was requested with the token"),
    ],
)
def test_code_that_is_not_available_is_reported_with_the_field_that_names_it(
    tmp_path: Path, model: Path, code: Path, token: str | None, *, gated: bool, verdict: str, words: str
) -> None:
    served = {"owner/name": model, **({"owner/code": code} if gated else {})}
    with FakeHub(served, token=token, gated=frozenset({"owner/code"})) as hub:
        outcome = download(hub, tmp_path / "mnt/models", token=token)
    assert outcome.code == RETRY_IS_USELESS
    named = "config.json has auto_map 'owner/code--modeling.Config'"
    start = f"{verdict}: hf://owner/name: its code is in the repository owner/code ({named}), and "
    assert outcome.last_line.startswith(start), outcome.log
    assert words.format(url=hub.url) in outcome.last_line
    assert "retrying" not in outcome.log
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_repository_without_the_named_file_is_reported(tmp_path: Path, model: Path) -> None:
    with FakeHub({"owner/name": model, "owner/code": a_model(tmp_path / "code", {"other.py": b""})}) as hub:
        outcome = download(hub, tmp_path / "models")
        commit = hub.repositories["owner/code"].commit
    assert outcome.code == RETRY_IS_USELESS
    assert f"owner/code at commit {commit} has no modeling.py" in outcome.last_line


@pytest.mark.parametrize(
    "name",
    [
        "../../etc--modeling.Model",
        "owner/..--modeling.Model",
        "owner/code--../modeling.Model",
        "owner/code--other--modeling.Model",
        "owner/code/more--modeling.Model",
        "owner/code--modeling",
        "/etc/passwd.Model",
        "../modeling.Model",
    ],
)
def test_names_that_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with FakeHub({"owner/name": a_model_naming(tmp_path / "served", {"AutoModel": name})}) as hub:
        outcome = download(hub, tmp_path / "mnt/models")
        assert {request.path.split("/")[-1] for request in hub.seen if request.path.endswith(".py")} == set()
    assert outcome.code == 1
    assert f"auto_map '{name}', which must be module.Class or owner/repository--module.Class" in outcome.last_line
    assert list((tmp_path / "mnt").iterdir()) == []


def test_a_module_outside_of_the_model_is_refused(tmp_path: Path) -> None:
    modules = [{"type": "sentence_transformers.models.Transformer", "path": "../elsewhere"}]
    with FakeHub({"owner/name": a_model_naming(tmp_path / "served", AUTO_MAP, **{"modules.json": modules})}) as hub:
        outcome = download(hub, tmp_path / "models")
    assert outcome.code == 1
    assert "modules.json has a module outside of the model's directory: ../elsewhere" in outcome.last_line


def test_code_beside_a_local_model_is_copied_with_it(tmp_path: Path, model: Path) -> None:
    commit = "0123456789" * 4
    a_model(model, {"remote_code/models--owner--code/blobs/1": b"mine"})
    place = model / "remote_code/models--owner--code"
    a_model(place, {"refs/main": commit.encode()})
    (place / "snapshots" / commit).mkdir(parents=True)
    (place / "snapshots" / commit / "modeling.py").symlink_to("../../blobs/1")  # as `hf download` lays it out
    outcome = initialize(f"file://{model}", tmp_path / "models")
    assert outcome.code == 0
    assert code_in(tmp_path / "models", commit) == {"modeling.py": b"mine"}


def test_code_that_a_repository_has_under_the_name_of_another_is_not_used(tmp_path: Path, code: Path) -> None:
    place = f"remote_code/models--owner--code/snapshots/{'0' * 40}/modeling.py"
    content = {place: b"planted", "remote_code/models--owner--code/refs/main": b"0" * 40}
    config = json.dumps({"model_type": "novel", "auto_map": AUTO_MAP}).encode()
    model = a_model(tmp_path / "served", {**MODEL, **content, "config.json": config})
    with FakeHub({"owner/name": model, "owner/code": code}) as hub:
        outcome = download(hub, tmp_path / "models")
        commit = hub.repositories["owner/code"].commit
    assert outcome.code == 0, outcome.log
    assert commit_of(tmp_path / "models", "owner/code") == commit
    assert not (tmp_path / "models" / place).exists()
