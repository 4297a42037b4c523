"""Counting the values of a JSON body without parsing it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.contract import ServeArgs
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend import json_values
from embedding_runtime.frontend.limits import Limits

LIMITS = Limits.of(ServeArgs(model_name="m"))
NONE = replace(LIMITS, max_inputs=0, max_request_tokens=0)

TEXTS = st.text(st.sampled_from('a"\\[]{},: \u00e9\U0001f600'), max_size=8)
VALUES = st.recursive(
    TEXTS | st.integers(), lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=4)
)


def lists_and_commas(value: Any) -> tuple[int, int]:
    if not isinstance(value, list | dict):
        return 0, 0
    inner = list(value.values()) if isinstance(value, dict) else value
    counts = [lists_and_commas(each) for each in inner]
    return 1 + sum(lists for lists, _ in counts), max(0, len(inner) - 1) + sum(commas for _, commas in counts)


@pytest.mark.parametrize("ascii_alone", [True, False])
@given(value=VALUES)
def test_commas_and_brackets_in_strings_are_not_counted(value: Any, *, ascii_alone: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_values, "_PIECE", 7)
        patch.setattr(json_values, "_OTHERS", -1)  # so that every body has too many
        with pytest.raises(BadRequest) as caught:
            json_values.check_values(json.dumps([value], ensure_ascii=ascii_alone).encode(), NONE)
    lists, commas = lists_and_commas([value])
    assert f"the body has {lists + commas} values, {lists} of them lists or objects" in str(caught.value)


@pytest.mark.parametrize(
    "given_input",
    [["text, with [brackets]" * 100] * 2048, [[101, 102] * 73] * 2048, [{"text": "a", "id": 1}] * 2048],
    ids=["texts", "token ids", "documents"],
)
def test_a_request_of_the_maximum_size_is_accepted(given_input: object) -> None:
    json_values.check_values(json.dumps({"model": "m", "input": given_input}).encode(), LIMITS)
