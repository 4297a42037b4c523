import base64
import io
from pathlib import Path

import pytest
import yaml

from embedding_operator.cli.manifests import read
from embedding_operator.errors import BadManifests
from support.builders import Raw, a_service, a_storage_container

SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf-secret"}}


def _file(folder: Path, *objects: Raw | str | None, name: str = "given.yaml") -> Path:
    path = folder / name
    path.write_text(yaml.safe_dump_all(objects))
    return path


def _problems(*files: Path) -> tuple[str, ...]:
    with pytest.raises(BadManifests) as bad:
        read(files)
    return bad.value.problems


def test_objects_of_all_kinds_come_from_any_mix_of_documents_and_files(tmp_path: Path) -> None:
    mixed = _file(tmp_path, a_service(), None, a_storage_container("hub"))
    other = _file(tmp_path, {**SECRET, "stringData": {"HF_TOKEN": "t"}}, name="other.yaml")
    given = read([mixed, other])
    assert [each["metadata"]["name"] for each in given.services] == ["embedding-model"]
    assert [each["metadata"]["name"] for each in given.storage_containers] == ["hub"]
    assert given.secrets == {"hf-secret": {"HF_TOKEN": "t"}}


@pytest.mark.parametrize("metadata", [{"name": "a"}, {"name": "a", "namespace": None}])
def test_a_service_without_a_namespace_is_in_the_default_one(tmp_path: Path, metadata: Raw) -> None:
    service = {**a_service(), "metadata": metadata}
    (found,) = read([_file(tmp_path, service)]).services
    assert found["metadata"]["namespace"] == "default"


def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(yaml.safe_dump(a_service())))
    assert len(read([Path("-")]).services) == 1


def test_the_data_of_a_secret_is_decoded(tmp_path: Path) -> None:
    data = {"HF_TOKEN": base64.b64encode(b"token").decode()}
    given = read([_file(tmp_path, a_service(), {**SECRET, "data": data})])
    assert given.secrets["hf-secret"]["HF_TOKEN"] == "token"


KSERVE = {**a_service(), "apiVersion": "serving.kserve.io/v1beta1"}


@pytest.mark.parametrize(
    ("obj", "words"),
    [
        ("text", "holds something that is no Kubernetes object"),
        ({**a_service(), "metadata": {}}, "metadata.name is missing"),
        (KSERVE, "apiVersion is serving.kserve.io/v1beta1: write serving.embeddings.dev/v1alpha1"),
        ({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, "v1 ConfigMap is not used here"),
        ({**a_service(), "kind": ["EmbeddingService"]}, "['EmbeddingService'] is not used here"),
        ({**SECRET, "data": {"HF_TOKEN": "not base64"}}, "write the text itself under stringData"),
        ({**SECRET, "data": {"HF_TOKEN": 1234}}, "write the text itself under stringData"),
        (a_storage_container(container={"imaeg": "x"}), "spec.container.imaeg: unknown field; did you mean image?"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_file(tmp_path: Path, obj: Raw | str, words: str) -> None:
    (problem,) = _problems(_file(tmp_path, a_service(), obj))
    assert problem.startswith(str(tmp_path / "given.yaml"))
    assert words in problem


def test_all_problems_of_all_files_are_reported_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    problems = _problems(tmp_path / "absent.yaml", broken, _file(tmp_path, "text"))
    assert len(problems) == 3


def test_two_objects_of_one_name_are_refused(tmp_path: Path) -> None:
    (problem,) = _problems(_file(tmp_path, a_service(), a_service()))
    assert "has it too: keep one" in problem


def test_files_without_a_service_are_refused(tmp_path: Path) -> None:
    (problem,) = _problems(_file(tmp_path, a_storage_container()))
    assert "no EmbeddingService in" in problem
