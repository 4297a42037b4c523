"""Links in remote_code/: within it, as `hf download` makes them, but not to code elsewhere."""

import json
from pathlib import Path

import pytest

from embedding_runtime.model import ModelRefused, remote_code
from embedding_runtime.remote_code import repository_directory

COMMIT = "0123456789" * 4


def a_model(directory: Path) -> Path:
    """The directory of the code that the model names, which has no code yet."""
    (directory / "config.json").write_text(json.dumps({"auto_map": {"AutoModel": "owner/code--modeling.Model"}}))
    place = repository_directory(directory, "owner/code")
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    (place / "snapshots").mkdir()
    return place


def test_links_to_the_blobs_of_a_download_are_followed(tmp_path: Path) -> None:
    place = a_model(tmp_path)
    (place / "blobs").mkdir()
    (place / "blobs" / "abc").write_text("class Model: ...")
    (place / "snapshots" / COMMIT).mkdir()
    (place / "snapshots" / COMMIT / "modeling.py").symlink_to("../../blobs/abc")
    assert remote_code.may_run(tmp_path, trusted=True)


@pytest.mark.parametrize("linked", ["snapshots/{}/modeling.py", "snapshots/{}"])
def test_a_link_out_of_the_models_directory_is_refused(tmp_path: Path, linked: str) -> None:
    (tmp_path / "model").mkdir()
    link = a_model(tmp_path / "model") / linked.format(COMMIT)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "modeling.py").write_text("class Model: ...")
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere / "modeling.py" if link.suffix else elsewhere)
    with pytest.raises(ModelRefused, match=f"{link} is a link to .*elsewhere.*, outside of the model's directory"):
        remote_code.may_run(tmp_path / "model", trusted=True)
