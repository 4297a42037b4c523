"""Options of a request: what a model supports, and the errors for the rest."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import Truncate
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.model import ModelSpec, Side
from support.models import packaged_minilm

MINILM = ModelSpec.read(packaged_minilm())
PROMPTED = replace(MINILM, prompts={"query": "query: ", "passage": "passage: ", "clustering": "c: "})
MATRYOSHKA = replace(MINILM, sizes=(64, 128))
BARE = replace(MINILM, steps=())

ROWS = np.array([[3.0, 4.0, 12.0], [0.0, 0.0, 0.0]], dtype=np.float32)


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        ({}, ""),
        ({"prompt_name": "query"}, "query: "),
        ({"prompt_name": "clustering"}, "c: "),
        ({"input_type": "query"}, "query: "),
        ({"input_type": "search_query"}, "query: "),
        ({"input_type": "search_document"}, "passage: "),
        ({"input_type": "passage"}, "passage: "),
        ({"input_type": "clustering"}, "c: "),
        ({"input_type": "classification"}, ""),
    ],
)
def test_a_prompt_is_selected_by_name_or_input_type(asked: dict[str, Any], prompt: str) -> None:
    assert Options.of(PROMPTED, **asked).prompt == prompt


def test_a_model_without_prompts_puts_none_before_queries_even_where_it_has_a_default() -> None:
    assert Options.of(MINILM, input_type="search_query").prompt == ""
    assert Options.of(replace(MINILM, prompt="d: ", prompts={"d": "d: "}), input_type="search_query").prompt == ""


@pytest.mark.parametrize(
    ("asked", "limit", "cut"),
    [
        ({}, 256, None),
        ({"truncate": False}, 256, None),
        ({"truncate": "NONE"}, 256, None),
        ({"truncate": True}, 256, Side.RIGHT),
        ({"truncate": "END"}, 256, Side.RIGHT),
        ({"truncate": "START"}, 256, Side.LEFT),
        ({"truncate": True, "sides": ["Left"]}, 256, Side.LEFT),
        ({"sides": ["left"]}, 256, None),
        ({"keep_tokens": -1}, 256, Side.RIGHT),
        ({"keep_tokens": 7}, 7, Side.RIGHT),
        ({"keep_tokens": 7, "sides": ["left"]}, 7, Side.LEFT),
    ],
)
def test_texts_are_truncated_on_request_only(asked: dict[str, Any], limit: int, cut: Side | None) -> None:
    options = Options.of(MINILM, **asked)
    assert (options.limit, options.cut) == (limit, cut)


@pytest.mark.parametrize(
    ("truncate", "asked", "cut"),
    [
        (Truncate.END, {}, Side.RIGHT),
        (Truncate.START, {}, Side.LEFT),
        (Truncate.END, {"sides": ["left"]}, Side.LEFT),
        (Truncate.END, {"truncate": "START"}, Side.LEFT),
        (Truncate.START, {"truncate": "END"}, Side.RIGHT),
        (Truncate.END, {"truncate": False}, None),
        (Truncate.END, {"truncate": "NONE"}, None),
    ],
)
def test_the_services_default_applies_without_a_request_value(
    truncate: Truncate, asked: dict[str, Any], cut: Side | None
) -> None:
    assert Options.of(replace(MINILM, truncate=truncate), **asked).cut is cut


def test_the_services_default_keeps_a_requested_token_limit() -> None:
    options = Options.of(replace(MINILM, truncate=Truncate.START), keep_tokens=7)
    assert (options.limit, options.cut) == (7, Side.RIGHT)


def test_the_default_side_is_the_tokenizers() -> None:
    assert Options.of(replace(MINILM, cut_side=Side.LEFT), truncate=True).cut is Side.LEFT


@pytest.mark.parametrize(
    ("spec", "asked", "words"),
    [
        (
            MINILM,
            {"dimensions": 128},
            "dimensions: 128 is not supported: this model's vectors have 384 dimensions, and neither its files",
        ),
        (MATRYOSHKA, {"dimensions": 100}, "can be truncated to 64, 128"),
        (replace(MINILM, sizes=range(1, 384)), {"dimensions": 385}, "can be truncated to 1 to 384"),
        (replace(MINILM, sizes=range(32, 384)), {"dimensions": 16}, "can be truncated to 32 to 384"),
        (MINILM, {"normalize": False}, "normalize: false is not supported"),
        (MINILM, {"prompt_name": "query"}, "prompt_name: this model has no such prompt: it has none"),
        (PROMPTED, {"prompt_name": "q"}, "use one of query, passage, clustering"),
        (PROMPTED, {"prompt_name": "query", "input_type": "query"}, "exclude each other"),
        (replace(PROMPTED, include_prompt=False), {"prompt_name": "query"}, "excludes its prompt from pooling"),
        (MINILM, {"keep_tokens": 257}, "truncate_prompt_tokens: 257 is not valid"),
        (MINILM, {"keep_tokens": 0}, "truncate_prompt_tokens: 0 is not valid"),
        (MINILM, {"keep_tokens": 5, "truncate": False}, "truncate: it disables truncation"),
        (MINILM, {"truncate": "START", "sides": ["right"]}, "name different ends of the text"),
        (MINILM, {"sides": ["Left", "right"]}, "name different ends of the text"),
    ],
)
def test_unsupported_options_are_rejected(spec: ModelSpec, asked: dict[str, Any], words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        Options.of(spec, **asked)
    assert words in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(BadRequest) as caught:
        Options.of(MINILM, dimensions=2, prompt_name="q", keep_tokens=999, sides=["left", "right"])
    for field in ("dimensions", "truncate_prompt_tokens", "truncation_side", "prompt_name"):
        assert f"{field}: " in str(caught.value)
    assert caught.value.param == "dimensions"


@pytest.mark.parametrize(
    ("spec", "asked", "first"),
    [
        (BARE, {}, [3, 4, 12]),
        (BARE, {"normalize": True}, [3 / 13, 4 / 13, 12 / 13]),
        (replace(BARE, sizes=(2,)), {"dimensions": 2}, [3, 4]),
        (replace(BARE, sizes=(2,)), {"dimensions": 2, "normalize": True}, [0.6, 0.8]),
        (replace(MINILM, sizes=(2,)), {"dimensions": 2}, [0.6, 0.8]),
        (MINILM, {"dimensions": 3, "normalize": True}, [3, 4, 12]),
    ],
)
def test_vectors_are_truncated_and_then_normalized(spec: ModelSpec, asked: dict[str, Any], first: list[float]) -> None:
    rows = Options.of(replace(spec, dimensions=3), **asked).finish(ROWS)
    assert rows[0] == pytest.approx(first)
    assert rows.dtype == np.float32
    assert not rows[1].any()
