"""Tokens that were added to the tokenizer without resizing the model's embeddings."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelRefused
from embedding_runtime.model.tokenizer import TextTokenizer
from support.models import a_cross_encoder, packaged_minilm
from support.runtime_server import NAME, RuntimeServer
from support.services import MINILM

ROWS = 30522
ADDED = f"the token '<added>' (id {ROWS})"


def with_an_added_token(directory: Path, model: Path) -> Path:
    """The same files, but for the tokenizer's."""
    directory.mkdir()
    for file in model.iterdir():
        if file.name != "tokenizer.json":
            (directory / file.name).symlink_to(file)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    added = {**tokenizer["added_tokens"][0], "content": "<added>", "id": ROWS, "special": False}
    tokenizer["added_tokens"].append(added)
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    return directory


@pytest.mark.parametrize(
    "backend",
    [
        BackendName.FAKE,
        pytest.param(BackendName.HUGGINGFACE, marks=pytest.mark.model),
        pytest.param(BackendName.VLLM, marks=[pytest.mark.model, pytest.mark.slow]),
    ],
)
def test_a_text_with_a_token_without_weights_is_400_and_the_server_continues(
    tmp_path: Path, backend: BackendName
) -> None:
    model = with_an_added_token(tmp_path / "model", packaged_minilm())
    with RuntimeServer(backend, model=model) as server:
        server.ready()
        refused = server.embeddings(input=["a text", "and <added>"])
        assert refused.status_code == 400
        assert refused.json()["error"]["message"] == (
            f"input[1] contains {ADDED}, but the model's weights cover ids below {ROWS} only: remove it from the text"
        )
        assert server.embeddings(input=["a text"]).status_code == 200
        assert f"({ADDED}) that the model's weights do not cover (ids below {ROWS} only)" in server.log


def test_a_pair_with_a_token_without_weights_is_400(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    model = with_an_added_token(tmp_path / "model", a_cross_encoder(plain))
    with RuntimeServer("fake", model=model) as server:
        refused = server.ready().post("/v1/rerank", model=NAME, query="a", documents=["one", "two <added>"])
        assert refused.status_code == 400
        assert f"documents[1] contains {ADDED}" in refused.text


def test_the_log_lists_uncovered_tokens_at_startup(tmp_path: Path) -> None:
    spec = replace(MINILM, directory=with_an_added_token(tmp_path / "model", packaged_minilm()))
    warning = TextTokenizer(spec).check_ids(ROWS)
    assert warning is not None
    assert warning.startswith(
        f"the tokenizer has 1 tokens ({ADDED}) that the model's weights do not cover (ids below {ROWS} only)"
    )


def test_a_model_with_a_row_for_every_token_has_no_warning() -> None:
    assert TextTokenizer(MINILM).check_ids(ROWS) is None


def test_an_uncovered_token_in_every_text_is_refused(tmp_path: Path) -> None:
    model = with_an_added_token(tmp_path / "model", packaged_minilm())
    prompted = TextTokenizer(replace(MINILM, directory=model, prompt="<added>"))
    with pytest.raises(ModelRefused, match=re.escape(f"adds {ADDED} to every text")):
        prompted.check_ids(ROWS)
