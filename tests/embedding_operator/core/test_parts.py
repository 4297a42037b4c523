"""spec.model.storageUris: parts of a model from sources of their own."""

from collections.abc import Sequence

import pytest

from embedding_operator.core.resolve import resolve_service
from embedding_operator.core.revision import revision_and_template
from embedding_operator.errors import Refused
from support.builders import COMMIT, MINILM, SETTINGS, Raw, a_service, a_snapshot, a_storage_container

ADAPTER = f"hf://owner/adapter:{COMMIT}"


def part(uri: str = ADAPTER, path: str = "/mnt/models/adapters/a") -> Raw:
    return {"uri": uri, "mountPath": path}


def pod_of(*parts: Raw, uri: str = MINILM, **settings: object) -> tuple[str, Raw]:
    """The revision, and the initializer."""
    service = a_service(model={"storageUri": uri, "storageUris": list(parts)} if parts else {"storageUri": uri})
    given = SETTINGS.model_copy(update=settings)
    revision, template = revision_and_template(resolve_service(a_snapshot(service), given), given)
    (initializer,) = template["spec"]["initContainers"]
    return revision, initializer


def refused(*parts: Raw, storage: Sequence[Raw] = (), **model: object) -> str:
    service = a_service(model={"storageUris": list(parts), **model})
    with pytest.raises(Refused) as caught:
        resolve_service(a_snapshot(service, *storage), SETTINGS)
    (problem,) = caught.value.problems
    return problem.message


def test_the_initializer_gets_uris_and_directories_in_turn() -> None:
    _, initializer = pod_of(part(), part("s3://bucket/dense", "2_Dense"))
    assert initializer["args"] == [
        *(MINILM, "/mnt/models"),
        *(ADAPTER, "/mnt/models/adapters/a"),
        *("s3://bucket/dense", "/mnt/models/2_Dense"),
    ]


def test_a_part_of_a_hub_is_downloaded_from_the_mirror() -> None:
    _, initializer = pod_of(part(), uri="s3://bucket/model", hf_endpoint="https://mirror")
    assert {"name": "HF_ENDPOINT", "value": "https://mirror"} in initializer["env"]


def test_a_change_of_parts_is_a_new_revision() -> None:
    revisions = {pod_of(*parts)[0] for parts in ((), (part(),), (part(path="b"),), (part("s3://bucket/a"),))}
    assert len(revisions) == 4


def test_both_ways_to_write_a_path_are_one_revision() -> None:
    assert pod_of(part(path="a"))[0] == pod_of(part(path="/mnt/models/a/"))[0]


@pytest.mark.parametrize(
    "path", ["/mnt/models", "/mnt/other", "..", "/mnt/models/../x", "a/../../x", "/", ".hidden", "a/.b", "a\nb", "."]
)
def test_a_path_must_be_below_that_of_the_model(path: str) -> None:
    message = refused(part(path=path))
    assert message.startswith("spec.model.storageUris[0].mountPath: ")
    assert "is not below /mnt/models: use /mnt/models/NAME" in message


@pytest.mark.parametrize(("first", "second"), [("a", "a"), ("a", "a/b"), ("a/b", "/mnt/models/a")])
def test_paths_must_not_overlap(first: str, second: str) -> None:
    message = refused(part(path=first), part(path=second))
    assert message.startswith("spec.model.storageUris[1].mountPath: ")
    assert " overlaps " in message


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("hf://owner/adapter", "hf://owner/adapter may move"),
        ("hf://owner/adapter:main", "hf://owner/adapter:main may move"),
        ("oci://registry/adapter:v1", "oci://registry/adapter:v1 may move"),
        ("hf://adapter", "is not a valid repository"),
        ("pvc://claim/adapter", "pvc://claim/adapter is not mounted"),
        ("ngc://owner/adapter", "the built-in initializer does not download ngc://owner/adapter"),
    ],
)
def test_a_uri_that_cannot_be_downloaded_as_a_part_is_refused(uri: str, words: str) -> None:
    message = refused(part(uri))
    assert message.startswith("spec.model.storageUris[0].uri: ")
    assert words in message


def test_parts_are_not_in_a_cache() -> None:
    assert "a cache holds the model of spec.model.storageUri alone" in refused(
        part(), cache={"persistentVolumeClaim": "models"}
    )


def test_a_storage_container_gets_only_what_it_is_for() -> None:
    """Its credentials would go to any host that a part names."""
    private = a_storage_container("private", prefixes=["https://models.example.com/"])
    message = refused(
        part("https://elsewhere.example.com/a.tar"), storage=[private], storageUri="https://models.example.com/m.tar"
    )
    assert "the built-in initializer is for https://elsewhere.example.com/a.tar, and " in message
    assert "private for spec.model.storageUri" in message
