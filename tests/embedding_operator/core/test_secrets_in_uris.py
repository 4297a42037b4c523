"""The user, the password and the query of a URI may be secrets: only the spec, and containers' arguments, have them."""

import json
from typing import Any

import pytest

from embedding_operator.core.uri_identity import identity
from support.builders import Raw, a_service, ended
from support.caches import CacheWorld, a_cache
from support.pure_cluster import PureCluster

SIGNED = "https://robot:pass123@host.example/models/minilm.tar.gz?X-Signature=5ecre7"
PLAIN = "https://host.example/models/minilm.tar.gz"
SHOWN = "https://***@host.example/models/minilm.tar.gz?***"
CACHE = {"persistentVolumeClaim": "models"}


def assert_hidden(*values: Any) -> None:
    text = json.dumps(values, default=str)
    assert "pass123" not in text
    assert "5ecre7" not in text
    assert SHOWN in text


def test_a_model_cache_shows_neither_in_its_status_nor_in_events() -> None:
    world = CacheWorld(a_cache(SIGNED))
    plans = [world.step()]
    world.run(SIGNED)
    plans.append(world.step())
    world.fail(SIGNED, "DownloadFailed: cut")
    plans.append(world.step())
    assert_hidden([plan.status for plan in plans], [plan.events for plan in plans])
    world.edit(capacity="1Gi")
    world.settle()
    world.succeed(SIGNED, path="minilm-1")
    plan = world.step()
    assert_hidden(plan.status, plan.events)
    assert world.states == ["Ready"]
    world.pass_time(days=1)
    world.settle()
    assert world.started == [SIGNED, SIGNED]


def test_what_evicts_a_model_is_shown_without_them() -> None:
    world = CacheWorld(a_cache("hf://org/a"))
    world.settle()
    world.succeed("hf://org/a", path="a-1")
    world.settle()
    world.report_of_another(SIGNED, path="minilm-1", evicted=["a-1"])
    world.settle()
    assert_hidden(world.cache["status"])


def test_urls_that_differ_in_their_queries_are_different_models() -> None:
    uris = [f"https://host.example/download?model={name}" for name in "ab"]
    world = CacheWorld(a_cache(*uris))
    world.settle()
    assert world.active() == uris
    world.succeed(uris[0], path="a-1")
    world.settle()
    assert world.states == ["Ready", "Pending"]


def test_a_service_with_the_same_url_uses_the_model_and_one_with_another_query_does_not() -> None:
    world = CacheWorld(a_cache(SIGNED))
    world.settle()
    world.succeed(SIGNED, path="minilm-1")
    world.settle()
    for uri, is_shared in ((SIGNED, True), (PLAIN, False), (f"{PLAIN}?X-Signature=another", False)):
        cluster = PureCluster(a_service(model={"storageUri": uri}))
        cluster.model_caches.append(world.cache)
        cluster.settle()
        assert bool(cluster.jobs) is is_shared


def a_cached_service() -> PureCluster:
    cluster = PureCluster(a_service(model={"storageUri": SIGNED, "cache": CACHE}))
    cluster.settle()
    return cluster


def test_a_service_shows_neither_in_its_status_nor_in_the_annotation_of_its_deployment() -> None:
    cluster = a_cached_service()
    statuses = [cluster.status]
    cluster.run_job(ended(0, '{"weights_bytes": 1, "path": "minilm-1"}'))
    cluster.settle()
    statuses.append(cluster.status)
    cluster.run(cluster.serving)
    cluster.after(3)
    assert cluster.condition("Ready") == ("True", "Ready")
    assert_hidden(statuses, cluster.status, [each["metadata"] for each in cluster.deployments])
    cluster.change(replicas=2)
    cluster.settle()
    assert cluster.jobs == [], "its record is that of the URI"


@pytest.mark.parametrize(
    "model",
    [
        {"storageUri": "https://robot:pass123@host.example/models/minilm.tar.gz?X-Signature=5ecre7#bad"},
        {"storageUri": "HTTPS://robot:pass123@host.example/models/minilm.tar.gz?X-Signature=5ecre7"},
        {"storageUri": "git+https://robot:pass123@host.example/models/minilm.tar.gz?X-Signature=5ecre7"},
        {"storageUri": "oci://robot:pass123@host.example/models/minilm.tar.gz?X-Signature=5ecre7"},
        {"storageUri": "s3://robot:pass123@host.example/models/minilm.tar.gz?X-Signature=5ecre7"},
        {"storageUri": "hf://a/b", "storageUris": [{"uri": SIGNED.replace("https", "xyz"), "mountPath": "x"}]},
    ],
)
def test_a_refused_uri_is_quoted_without_them(model: Raw) -> None:
    cluster = PureCluster(a_service(model=model))
    cluster.settle()
    assert cluster.condition("Accepted")[0] == "False"
    text = json.dumps(cluster.status)
    assert "pass123" not in text
    assert "5ecre7" not in text
    assert "host.example/models/minilm.tar.gz" in text


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("hf://a/b@v1", "hf://a/b@v1"),
        ("oci://registry.example/a@sha256:12", "oci://registry.example/a@sha256:12"),
        ("https://host.example/a@1.tar", "https://host.example/a@1.tar"),
        ("https://u@host.example/a.tar#sha256=12", "https://***@host.example/a.tar#sha256=12"),
    ],
)
def test_the_identity_of_a_uri_is_the_uri_where_it_hides_nothing(uri: str, shown: str) -> None:
    assert identity(uri) == shown
    assert identity(identity(uri)) == shown


def test_a_password_cannot_be_tried_with_an_identity() -> None:
    first, second = (identity(f"https://bob:{word}@host.example/a.tar?signature=1") for word in ("hunter2", "letmein"))
    assert first == second


@pytest.mark.parametrize("end", ["?signature={}", "#token={}", ";token={}"])
def test_signed_urls_have_identities_of_their_own(end: str) -> None:
    first, second = (identity(f"https://host.example/a.tar{end.format(signature)}") for signature in "12")
    assert first != second
    assert identity(first) == first


@pytest.mark.parametrize("end", ["#token=hush", ";token=hush"])
def test_what_looks_like_an_identity_hides_its_secrets_too(end: str) -> None:
    place, mark = f"https://host.example/a.tar{end}", "?***-0123abcd"
    assert "hush" not in identity(place.replace("#", f"{mark}#") if "#" in end else f"{place}{mark}")
