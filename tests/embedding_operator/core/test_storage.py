import random
import statistics
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.core import uri_formats
from embedding_operator.core.merge import merge
from embedding_operator.core.storage import BUILT_IN, match, named, read
from embedding_operator.resources.kubernetes import Container
from support.builders import MINILM, Raw, a_storage_container


def _match(uri: str, *storage_containers: Raw, in_use: tuple[str, str | None] | None = None) -> str:
    """What fetches it, or the reason why nothing does."""
    fetcher, problem = match(uri, "default", [read(each) for each in storage_containers], in_use)
    return str(fetcher) if problem is None else str(problem.reason)


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
        ([a_storage_container("any", surprise=True), PREFIX], "ClusterStorageContainer prefix"),
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


NEWER = a_storage_container("newer", prefixes=["hf://"], surprise=True)
IN_USE = ("ClusterStorageContainer", "bad")


@pytest.mark.parametrize(
    "storage_containers",
    [
        [NEWER],
        [NEWER, REGEX, ANY],
        [a_storage_container("any", surprise=True)],
        [a_storage_container("both", prefixes=["hf://"], regexes=["("]), ANY],
        [a_storage_container("limits", prefixes=["hf://"], container={"resources": {"limits": {"cpu": "1e99"}}})],
    ],
)
def test_one_that_cannot_be_used_and_matches_best_is_not_replaced_by_another(storage_containers: list[Raw]) -> None:
    assert _match(MINILM, *storage_containers) == "StorageContainerUnreadable"


@pytest.mark.parametrize(
    ("storage_containers", "chosen"),
    [
        ([BAD_REGEX], "StorageContainerUnreadable"),
        ([BAD_REGEX, LONGER, REGEX], "StorageContainerUnreadable"),
        ([BAD_REGEX, OWN_ANY], "StorageContainer own-any"),
        ([{**BAD_REGEX, "disabled": True}], "the built-in initializer"),
        ([a_storage_container("bad", prefixes=["s3://"], surprise=True)], "the built-in initializer"),
    ],
)
def test_one_in_use_whose_formats_cannot_be_read_is_kept_wherever_they_might_match(
    storage_containers: list[Raw], chosen: str
) -> None:
    assert _match(MINILM, *storage_containers, in_use=IN_USE) == chosen


def test_one_without_formats_fetches_what_no_other_one_claims() -> None:
    assert _match("s3://bucket/model", a_storage_container("hf-hub")) == "ClusterStorageContainer hf-hub"


@pytest.mark.parametrize("uri", ["pvc://models/mini", "file:///models/mini"])
def test_one_without_formats_does_not_take_what_the_cluster_has_already(uri: str) -> None:
    assert _match(uri, a_storage_container("hf-hub")) == "the built-in initializer"


@pytest.mark.parametrize(
    ("storage_container", "rule"),
    [
        (ANY, "no supportedUriFormats: any URI that no other storage container claims"),
        (LONGER, "prefix hf://sentence-transformers/"),
        (REGEX, "regex MiniLM"),
    ],
)
def test_a_fetcher_says_which_rule_chose_it(storage_container: Raw, rule: str) -> None:
    fetcher, _ = match(MINILM, "default", [read(storage_container)])
    assert fetcher is not None
    assert fetcher.chosen_by == rule


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
    found, _ = named("s3", "default", [read(s3), read(ANY)])
    assert str(found) == "ClusterStorageContainer s3"


def test_a_name_in_the_services_namespace_hides_the_cluster_wide_one() -> None:
    own = a_storage_container("any", namespace="default")
    found, _ = named("any", "default", [read(ANY), read(own)])
    assert found is not None
    assert found.kind == "StorageContainer"


@pytest.mark.parametrize(
    ("storage_containers", "words"),
    [
        ([], "neither a StorageContainer 'any' in namespace default nor a"),
        ([{**ANY, "disabled": True}], "ClusterStorageContainer any is disabled"),
    ],
)
def test_a_name_that_cannot_be_used_is_refused_with_the_reason(storage_containers: list[Raw], words: str) -> None:
    found, problem = named("any", "default", [read(each) for each in storage_containers])
    assert found is None
    assert problem is not None
    assert words in problem.message


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


def _amounts(**resources: Raw) -> Raw:
    return a_storage_container(container={"resources": resources})


def _variable(**fields: Any) -> Raw:
    return a_storage_container(container={"env": [{"name": "A", **fields}]})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (a_storage_container(regexes=["("]), "spec.supportedUriFormats[0].regex: '(' is not valid: missing )"),
        (
            a_storage_container(prefixes=["hf://", "S3://"]),
            "spec.supportedUriFormats[1].prefix: no URI begins with 'S3://'",
        ),
        (a_storage_container(regexes=["a" * 257]), "at most 256 characters"),
        (a_storage_container(regexes=["(.?){0,250}c"]), "compile to at most 500 instructions"),
        (a_storage_container(regexes=[rf"[\\w.-]{{1,{n}}}/x" for n in range(40, 60)]), "at most 500 instructions"),
        (a_storage_container(regexes=[r"[\p{L}\p{N}]{100}z"]), "pattern too large"),
        (a_storage_container(surprise=True), "surprise: unknown field"),
        (a_storage_container(container={"sidecar": True}), "spec.container.sidecar: unknown field"),
        (_amounts(limits={"memory": "1Gi"}, requests={"memory": "2Gi"}), "the request of memory, 2Gi, is above its"),
        (_amounts(limits={"memory": "1e99"}), "spec.container.resources.limits.memory: '1e99' is not a quantity"),
        (_amounts(limits={"gpu": 1}), "spec.container.resources.limits: 'gpu' is not a resource"),
        (_variable(valueFrom={"secretKeyRef": {"name": "s", "key": "../a"}}), "secretKeyRef.key: '../a' cannot be"),
        (_variable(valueFrom={}), "spec.container.env[0].valueFrom: give exactly one of"),
        (_variable(value="x", valueFrom={"fieldRef": {"fieldPath": "metadata.name"}}), "give value or valueFrom"),
    ],
)
def test_one_that_cannot_be_used_says_why(raw: Raw, words: str) -> None:
    (problem,) = read(raw).problems
    assert words in problem


def test_both_and_neither_of_prefix_and_regex_are_reported() -> None:
    raw = a_storage_container()
    raw["spec"]["supportedUriFormats"] = [{"prefix": "hf://", "regex": "hf"}, {}]
    assert len(read(raw).problems) == 2


def test_kserves_own_formats_are_within_the_limits() -> None:
    azure = [r"https://(.+?).blob.core.windows.net/(.+)", r"https://(.+?).file.core.windows.net/(.+)"]
    prefixes = ["gs://", "s3://", "hdfs://", "webhdfs://", "http://", "https://", "hf://"]
    assert read(a_storage_container(prefixes=prefixes, regexes=azure)).problems == ()


@pytest.mark.parametrize("formats", [None, 1, "hf://", {"prefix": 1}, [None], [{"prefix": 1}], [{"regex": ["a"]}]])
def test_formats_of_any_shape_are_read_without_an_exception(formats: Any) -> None:
    raw = a_storage_container()
    raw["spec"]["supportedUriFormats"] = formats
    assert read(raw).parsed is None


HARMFUL = ["(a|b)*a(a|b){100}c", "(a?b?){0,60}c", "(.?){0,28}c", "(.*a.*b){20}c", r"[\w.-]{1,60}/[\w.-]+"]


@pytest.mark.parametrize("regex", HARMFUL)
def test_a_regex_that_is_hard_to_match_never_takes_longer_than_a_millisecond_or_is_refused(regex: str) -> None:
    storage_container = read(a_storage_container(regexes=[regex]))
    generator = random.Random(1)
    durations = []
    for _ in range(30):
        uri = "hf://" + "".join(generator.choices("ab", k=2000 if generator.random() < 0.2 else 500))
        start = time.thread_time()
        match(uri, "default", [storage_container])
        durations.append(time.thread_time() - start)
    assert statistics.median(durations) < 0.001


def test_many_storage_containers_of_many_regexes_are_compiled_when_read_and_never_when_matched(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    regexes = [[f"{number}x{index}" for index in range(40)] for number in range(30)]
    reads = [read(a_storage_container(f"s{number}", regexes=each)) for number, each in enumerate(regexes)]
    assert not any(each.problems for each in reads)
    monkeypatch.setattr(uri_formats, "re2", None)
    uri_formats._compiled.cache_clear()
    assert match("hf://a/b", "default", reads).fetcher == BUILT_IN
    assert match("hf://29x39", "default", reads).problem is None


def test_a_match_searches_with_each_regex_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    searches: list[str] = []

    class Counting:
        programsize = 1

        def __init__(self, pattern: str) -> None:
            self.pattern = pattern

        def search(self, _: str) -> bool:
            searches.append(self.pattern)
            return False

    monkeypatch.setattr(uri_formats, "_compiled", Counting)
    regexes = [f"regex-{number}" for number in range(64)]
    reads = [read(a_storage_container(f"s{number}", regexes=regexes)) for number in range(30)]
    assert match("hf://a/b", "default", reads).fetcher == BUILT_IN
    assert len(searches) == 30 * 64
    searches.clear()
    match("hf://" + "a" * 508, "default", reads)
    assert searches == []  # a regex sees short URIs alone
