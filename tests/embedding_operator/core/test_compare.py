import copy
from typing import Any

import pytest

from embedding_operator.core.diff import differs, digest, marked
from embedding_operator.core.quantity import amount
from support.builders import Raw

WANTED: Raw = marked(
    {
        "metadata": {"name": "x"},
        "spec": {"args": ["a", "b"], "env": [{"name": "A", "value": ""}], "limits": {"cpu": "1000m", "memory": "1Gi"}},
    }
)


def _live(**spec: Any) -> Raw:
    live = copy.deepcopy(WANTED)
    live["spec"] |= spec
    return live


@pytest.mark.parametrize(
    "live",
    [
        _live(),
        _live(replicas=1),
        _live(limits={"cpu": "1", "memory": "1024Mi"}),
        _live(env=[{"name": "B"}, {"name": "A"}]),
    ],
)
def test_defaults_other_fields_and_other_ways_to_write_an_amount_make_no_difference(live: Raw) -> None:
    assert not differs(WANTED, live)


@pytest.mark.parametrize(
    "live",
    [
        None,
        _live(args=["a"]),
        _live(args=["b", "a"]),
        _live(args=["a", "b", "c"]),
        _live(env=[{"name": "A", "value": "x"}]),
        _live(limits={"cpu": "2", "memory": "1Gi"}),
        _live(limits={"cpu": "1"}),
    ],
)
def test_what_was_changed_or_taken_out_makes_a_difference(live: Raw | None) -> None:
    assert differs(WANTED, live)


def test_what_is_no_longer_wanted_makes_a_difference_although_all_that_is_wanted_is_there() -> None:
    less = marked({"metadata": {"name": "x"}, "spec": {"args": ["a", "b"]}})
    assert differs(less, WANTED)


def test_equal_values_have_equal_digests_whatever_the_order_of_their_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("1k", "1000"), ("1e3", "1k"), ("1.5Gi", "1536Mi")],
)
def test_amounts_are_compared_by_value(one: str, other: str) -> None:
    assert amount(one) == amount(other)


@pytest.mark.parametrize("text", ["", "two", "-1", "1 Gi", "1gi", "1e99"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        amount(text)
