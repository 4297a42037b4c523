"""A plain model: assumptions are reported, and its prompt is put before every text."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models import packaged_minilm
from support.runtime_server import RuntimeServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    model = tmp_path_factory.mktemp("plain")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (model / name).symlink_to(packaged_minilm() / name)
    defaults = {"prompts": {"query": "query: "}, "default_prompt_name": "query"}
    (model / "config_sentence_transformers.json").write_text(json.dumps(defaults))
    with RuntimeServer("fake", model=Path(model)) as server:
        yield server.ready()


def test_the_model_list_tells_what_was_assumed(server: RuntimeServer) -> None:
    (model,) = server.client().models.list().data
    said = model.model_dump()
    assert (said["pooling"], said["normalized"], said["prompt"]) == ("mean", False, "query: ")
    assert [words.partition(":")[0] for words in said["assumed"]] == ["pooling by mean", "no normalization"]


def test_the_log_lists_assumptions(server: RuntimeServer) -> None:
    assert "assumption: pooling by mean: " in server.log


def test_the_prompt_counts_as_tokens(server: RuntimeServer) -> None:
    assert server.embeddings(input="one").json()["usage"]["prompt_tokens"] == 5  # [CLS] query : one [SEP]


def test_token_ids_are_refused_as_no_prompt_can_stand_before_them(server: RuntimeServer) -> None:
    answer = server.embeddings(input=[[101, 102]])
    assert answer.status_code == 400
    assert "send texts" in answer.json()["error"]["message"]
