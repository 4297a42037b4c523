"""Layers of an image, one over another: the rules of OCI's image specification."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.storage.layers import overlay

LOWER = {"a": 1, "d/b": 1, "d/e/c": 1, "f/g": 1}


@pytest.mark.parametrize(
    ("upper", "files"),
    [
        ({}, LOWER),
        ({"a": 2}, {**LOWER, "a": 2}),
        ({".wh.a": 2}, {"d/b": 1, "d/e/c": 1, "f/g": 1}),
        ({".wh.d": 2}, {"a": 1, "f/g": 1}),
        ({"d/.wh.e": 2}, {"a": 1, "d/b": 1, "f/g": 1}),
        ({"d/.wh..wh..opq": 2}, {"a": 1, "f/g": 1}),
        ({"d/.wh..wh..opq": 2, "d/new": 2}, {"a": 1, "f/g": 1, "d/new": 2}),
        ({".wh..wh..opq": 2}, {}),
        ({".wh.a": 2, "a": 2}, {**LOWER, "a": 2}),
        ({"d": 2}, {"a": 1, "f/g": 1, "d": 2}),
        ({"a/x": 2}, {"d/b": 1, "d/e/c": 1, "f/g": 1, "a/x": 2}),
        ({".wh.gone": 2, "d/.wh.": 2, ".wh...": 2}, LOWER),
    ],
)
def test_a_layer_over_another(upper: Mapping[str, int], files: Mapping[str, int]) -> None:
    assert overlay(LOWER, upper) == files


PATHS = st.lists(st.sampled_from(["a", "b", ".wh.a", ".wh..wh..opq"]), min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.integers(), max_size=6)


@given(FILES, FILES)
def test_no_whiteout_is_left_and_no_file_is_a_directory(lower: Mapping[str, int], upper: Mapping[str, int]) -> None:
    both = overlay(overlay({}, _without_conflicts(lower)), _without_conflicts(upper))
    assert not any(path.rpartition("/")[2].startswith(".wh.") for path in both)
    assert not any(other.startswith(f"{path}/") for path in both for other in both)


def _without_conflicts(files: Mapping[str, int]) -> Mapping[str, int]:
    return {path: file for path, file in files.items() if not any(other.startswith(f"{path}/") for other in files)}
