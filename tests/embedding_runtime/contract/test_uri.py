from pathlib import PurePosixPath

import pytest

from embedding_runtime.contract import (
    BadUri,
    FileUri,
    ForeignUri,
    HttpUri,
    HuggingFaceUri,
    ModelScopeUri,
    ModelUri,
    ObjectStoreUri,
    OciUri,
    PvcUri,
    parse_uri,
    without_secrets,
)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("hf://owner/name", HuggingFaceUri("owner/name")),
        ("hf://sentence-transformers/all-MiniLM-L6-v2", HuggingFaceUri("sentence-transformers/all-MiniLM-L6-v2")),
        ("hf://owner/name:v1.0", HuggingFaceUri("owner/name", "v1.0")),
        ("hf://owner/name@v1.0", HuggingFaceUri("owner/name", "v1.0")),
        ("hf://owner/name:refs/pr/3", HuggingFaceUri("owner/name", "refs/pr/3")),
        ("ms://owner/name", ModelScopeUri("owner/name")),
        ("ms://AI-ModelScope/bge--m3:v1.0", ModelScopeUri("AI-ModelScope/bge--m3", "v1.0")),
        ("ms://owner/name@master", ModelScopeUri("owner/name", "master")),
        ("pvc://claim/models/minilm", PvcUri("claim", PurePosixPath("models/minilm"))),
        ("pvc://claim", PvcUri("claim", PurePosixPath())),
        ("file:///models/minilm", FileUri(PurePosixPath("/models/minilm"))),
        ("s3://bucket/a/key/", ObjectStoreUri("s3", "bucket", "a/key")),
        ("gs://bucket", ObjectStoreUri("gs", "bucket", "")),
        ("az://container/model", ObjectStoreUri("az", "container", "model")),
        ("https://me.blob.core.windows.net/box/a%20b", ObjectStoreUri("az", "box", "a b", "me")),
        ("oci://registry/model", OciUri("registry", "model")),
        ("oci://ghcr.io/a/b_c/d:v1.0", OciUri("ghcr.io", "a/b_c/d", "v1.0")),
        (f"oci://[::1]:5000/a/b@sha256:{'0a' * 32}", OciUri("[::1]:5000", "a/b", None, f"sha256:{'0a' * 32}")),
        (f"oci://r:1/m:v1@sha256:{'0a' * 32}", OciUri("r:1", "m", "v1", f"sha256:{'0a' * 32}")),
        ("ngc://owner/model", ForeignUri("ngc")),
        ("https://host/model.tar", HttpUri("https://host/model.tar")),
        (f"http://host:80/a.zip#sha256={'0A' * 32}", HttpUri("http://host:80/a.zip", "0a" * 32)),
    ],
)
def test_an_address_means(text: str, meaning: ModelUri) -> None:
    assert parse_uri(text) == meaning


@pytest.mark.parametrize(
    "text",
    [
        "hf://owner/name",
        "hf://owner/name:v1",
        "pvc://claim",
        "pvc://claim/a/b",
        "file:///a/b",
        "s3://bucket",
        "gs://bucket/a/b",
        "https://me.blob.core.windows.net/container/a",
        "oci://host:5000/a/b:v1",
        "ms://owner/name:v1",
        f"oci://host/a:v1@sha256:{'0a' * 32}",
    ],
)
def test_a_uri_is_shown_as_it_was_written(text: str) -> None:
    assert str(parse_uri(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "owner/name",
        "/models",
        "hf://name",
        "hf://a/b/c",
        "hf://owner/name:",
        "hf://owner/name@",
        "hf://owner/na--me",
        "hf://owner/../name",
        "hf://-owner/name",
        "hf://owner/name with space",
        "pvc://",
        "pvc://Claim/x",
        "pvc://claim/../../etc",
        "file://relative",
        "file:///a/../b",
        "s3://",
        "HF://owner/name",
    ],
)
def test_an_invalid_uri_is_quoted(text: str) -> None:
    with pytest.raises(BadUri) as caught:
        parse_uri(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "s3:///path",
        "s3://bucket/../other",
        "gs://-bucket/model",
        "https://me.you.blob.core.windows.net/container/a",
        "https://me.blob.core.windows.net/",
        "https://host",
        "https://host/",
        "http:///model.tar",
        "https://host:port/model.tar",
        "https://host/model.tar#sha256=0a",
        "https://host/model.tar#md5=0a",
        "oci://registry",
        "ms://name",
        "ms://owner/../name",
        "ms://owner/name:",
        "oci://registry/",
        "oci://user:hush@registry/model",
        "oci://registry/Model",
        "oci://registry/a/../b",
        "oci://registry/a//b",
        "oci://registry/model:",
        "oci://registry/model@sha256:0a",
    ],
)
def test_a_storage_container_may_take_what_the_initializer_cannot(text: str) -> None:
    uri = parse_uri(text)
    assert isinstance(uri, ForeignUri)
    assert repr(without_secrets(text)) in str(uri.problem)
    assert "hush" not in str(uri.problem)


def test_a_sas_token_in_a_uri_is_refused_and_not_quoted() -> None:
    uri = parse_uri("https://me.blob.core.windows.net/container/a?sv=2021&sig=hush")
    assert isinstance(uri, ForeignUri)
    assert "put a SAS token into AZURE_STORAGE_SAS_KEY" in str(uri.problem)
    assert "hush" not in str(uri.problem)


def test_what_may_be_a_secret_in_an_address_is_not_shown() -> None:
    uri = parse_uri("https://user:hush@host:1/a/model.tar.gz?signature=hush")
    assert "hush" not in f"{uri} {uri!r}"
    assert str(uri) == "https://host:1/a/model.tar.gz"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:hush/a@host/f", "https://***@host/f"),
        ("https://user:hush?a@host/f", "https://***@host/f"),
        ("https://user:hush#a@host/f", "https://***@host/f"),
        ("custom://u:hush/w@host/f", "custom://***@host/f"),
        ("https://a@b:hush/a@host/f", "https://***@host/f"),
        ("https://u:hush@a/a@host/f", "https://***@host/f"),
        ("https://host\\u:hush@host/f", "https://***@host/f"),
        ("https://u:hush\n@host/f", "https://***@host/f"),
        ("https:/u:hush@host/f", "https:/***@host/f"),
        ("u:hush@host/f", "***@host/f"),
        ("//u:hush@host/f", "//***@host/f"),
        (" https://u:hush@host/f", " https://***@host/f"),
        ("https://host/f#token=hush", "https://host/f#***"),
        ("https://host/f#sha256=12hush", "https://host/f#***"),
        ("https://host/f;t=hush", "https://host/f;***"),
        ("https://host/a;t=hush/f;t=hush?x=hush#hush", "https://host/a;***/f;***?***#***"),
        ("https://host:8080/a@b", "https://host:8080/a@b"),
        ("http://[::1]:8080/a@b", "http://[::1]:8080/a@b"),
        ("oci://localhost:5000/a@sha256:12", "oci://localhost:5000/a@sha256:12"),
        ("hf://owner/name@v1", "hf://owner/name@v1"),
        ("https://host/f#sha256=12AB", "https://host/f#sha256=12AB"),
    ],
)
def test_secrets_are_cut_out_of_uris_even_if_they_are_not_escaped(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    assert without_secrets(shown) == shown


def test_a_parameter_of_an_address_is_neither_shown_nor_part_of_the_name() -> None:
    uri = parse_uri("https://host/model.tar.gz;t=hush")
    assert isinstance(uri, HttpUri)
    assert (str(uri), uri.name) == ("https://host/model.tar.gz;***", "model.tar.gz")
