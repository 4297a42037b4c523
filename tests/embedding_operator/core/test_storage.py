from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.api.kubernetes import Container
from embedding_operator.core.observed import read_storage_containers
from embedding_operator.core.storage import BUILT_IN, bad_formats, match, merge, named
from support.builders import MINILM, Raw, a_storage_container


def _match(uri: str, *storage_containers: Raw) -> str:
    return str(match(uri, "default", read_storage_containers(storage_containers)))


ANY = a_storage_container("any")
PREFIX = a_storage_container("prefix", prefixes=["hf://"])
LONGER = a_storage_container("longer", prefixes=["hf://sentence-transformers/"])
REGEX = a_storage_container("regex", regexes=["MiniLM"])
OWN_ANY = a_storage_container("own-any", namespace="default")
OTHERS = a_storage_container("others", namespace="elsewhere")
BAD_REGEX = a_storage_container("bad", regexes=["("])


@pytest.mark.parametrize(
    ("storage_containers", "chosen"),
    [
        ([], "the built-in initializer"),
        ([ANY], "ClusterStorageContainer any"),
        ([ANY, REGEX], "ClusterStorageContainer regex"),
        ([ANY, REGEX, PREFIX], "ClusterStorageContainer prefix"),
        ([ANY, REGEX, PREFIX, LONGER], "ClusterStorageContainer longer"),
        ([LONGER, OWN_ANY], "StorageContainer own-any"),
        ([OTHERS], "the built-in initializer"),
        ([BAD_REGEX], "the built-in initializer"),
        ([BAD_REGEX, REGEX], "ClusterStorageContainer regex"),
        ([a_storage_container("b"), a_storage_container("a")], "ClusterStorageContainer a"),
        ([a_storage_container("s3", prefixes=["s3://"])], "the built-in initializer"),
        ([{**ANY, "disabled": True}], "the built-in initializer"),
        ([a_storage_container("both", prefixes=["hf://", "hf://sentence"]), PREFIX], "ClusterStorageContainer both"),
    ],
)
def test_namespaced_then_longest_prefix_then_regex_then_any_then_built_in(
    storage_containers: list[Raw], chosen: str
) -> None:
    assert _match(MINILM, *storage_containers) == chosen


def test_a_storage_container_for_download_jobs_fetches_for_no_service() -> None:
    job = a_storage_container("job")
    job["spec"]["workloadType"] = "localModelDownloadJob"
    assert _match(MINILM, job) == "the built-in initializer"


def test_a_storage_container_that_cannot_be_read_is_in_nobodys_way() -> None:
    broken = a_storage_container("broken", surprise=True)
    assert _match(MINILM, broken, ANY) == "ClusterStorageContainer any"


def test_the_guides_storage_container_without_formats_fetches_any_uri() -> None:
    assert _match("s3://bucket/model", a_storage_container("hf-hub")) == "ClusterStorageContainer hf-hub"


@pytest.mark.parametrize("uri", ["pvc://models/minilm", "file:///models/minilm"])
def test_a_storage_container_without_formats_takes_no_uri_that_needs_no_download(uri: str) -> None:
    assert _match(uri, ANY, OWN_ANY) == "the built-in initializer"
    assert _match(uri, ANY, a_storage_container("own", prefixes=[uri[:6]])) == "ClusterStorageContainer own"


def _storage_containers() -> st.SearchStrategy[Raw]:
    return st.builds(
        a_storage_container,
        st.sampled_from("abcdef"),
        namespace=st.sampled_from([None, "default", "elsewhere"]),
        prefixes=st.lists(st.sampled_from(["hf://", "hf://sentence", "s3://"]), max_size=2),
        regexes=st.lists(st.sampled_from(["MiniLM", "^s3", "("]), max_size=2),
    )


@given(
    st.lists(_storage_containers(), max_size=8, unique_by=lambda each: (each["kind"], each["metadata"]["name"])),
    st.randoms(),
)
def test_the_order_in_which_storage_containers_are_listed_never_matters(listed: list[Raw], random: Any) -> None:
    shuffled = random.sample(listed, len(listed))
    assert _match(MINILM, *listed) == _match(MINILM, *shuffled)


def test_a_name_means_that_storage_container_whatever_its_formats() -> None:
    s3 = a_storage_container("s3", prefixes=["s3://"])
    found, _ = named("s3", "default", read_storage_containers([s3, ANY]))
    assert str(found) == "ClusterStorageContainer s3"


def test_a_name_in_the_services_namespace_hides_the_cluster_wide_one() -> None:
    own = a_storage_container("any", namespace="default")
    found, _ = named("any", "default", read_storage_containers([ANY, own]))
    assert found is not None
    assert found.kind == "StorageContainer"


@pytest.mark.parametrize(
    ("storage_containers", "words"),
    [
        ([], "no StorageContainer or ClusterStorageContainer 'any' is there"),
        ([{**ANY, "disabled": True}], "ClusterStorageContainer any: it is disabled"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_the_reason(storage_containers: list[Raw], words: str) -> None:
    found, why_not = named("any", "default", read_storage_containers(storage_containers))
    assert found is None
    assert why_not is not None
    assert words in why_not


BUILT: Raw = {
    "name": "storage-initializer",
    "image": "built",
    "args": ["URI", "DIR"],
    "env": [{"name": "A", "value": "built"}, {"name": "B", "value": "built"}],
    "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
}


def _merged(**over: Any) -> Raw:
    return merge(BUILT, Container.model_validate(over))


def test_nothing_over_it_leaves_the_built_container_as_it_is() -> None:
    assert merge(BUILT, BUILT_IN.container) == BUILT


def test_a_variable_takes_the_place_of_the_one_of_its_name_and_new_ones_come_last() -> None:
    secret = {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    assert _merged(env=[{"name": "C", "value": "new"}, secret])["env"] == [
        secret,
        {"name": "B", "value": "built"},
        {"name": "C", "value": "new"},
    ]


def test_arguments_never_replace_the_uri_and_the_directory() -> None:
    assert _merged(args=["--verbose"])["args"] == ["--verbose", "URI", "DIR"]


def test_a_resource_is_taken_over_as_a_pair_so_that_no_request_is_above_its_limit() -> None:
    assert _merged(resources={"limits": {"memory": "128Mi"}})["resources"] == {
        "requests": {"cpu": "100m"},
        "limits": {"memory": "128Mi"},
    }


def test_the_containers_own_name_is_not_used() -> None:
    assert _merged(name="mine", image="mine")["name"] == "storage-initializer"


@given(st.lists(st.fixed_dictionaries({"name": st.sampled_from("ABCD"), "value": st.text(max_size=3)}), max_size=5))
def test_merging_the_same_container_again_changes_nothing(env: list[Raw]) -> None:
    over = Container.model_validate({"env": env, "image": "mine", "resources": {"limits": {"memory": "2Gi"}}})
    once = merge(BUILT, over)
    assert merge(once, over) == once


@pytest.mark.parametrize(
    ("formats", "words"),
    [
        ({"regexes": ["("]}, "spec.supportedUriFormats[0].regex: '(' cannot be read: missing )"),
        ({"prefixes": ["hf://", "S3://"]}, "spec.supportedUriFormats[1].prefix: no URI begins with 'S3://'"),
    ],
)
def test_a_format_that_matches_nothing_is_reported(formats: Raw, words: str) -> None:
    (bad,) = read_storage_containers([a_storage_container(**formats)])
    assert [words in problem for problem in bad_formats(bad)] == [True]


def test_both_and_neither_of_prefix_and_regex_are_reported() -> None:
    raw = a_storage_container()
    raw["spec"]["supportedUriFormats"] = [{"prefix": "hf://", "regex": "hf"}, {}]
    (bad,) = read_storage_containers([raw])
    assert len(bad_formats(bad)) == 2
