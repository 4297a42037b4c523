import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from embedding_operator.__main__ import main
from support.builders import a_service

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("backend", ["vllm", "hf"])
def test_render_prints_the_objects_of_the_guides_manifests(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["hf-secret.yaml", "huggingface-storage.yaml", f"embedding-{backend}.yaml"]
    assert main(["render", *(word for name in files for word in ("-f", str(EXAMPLES / name)))]) == 0
    deployment, service = yaml.safe_load_all(capsys.readouterr().out)
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")


def test_render_takes_a_secret_that_no_file_has_to_be_in_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["render", "-f", str(EXAMPLES / "huggingface-storage.yaml"), "-f", str(EXAMPLES / "embedding-hf.yaml")])
        == 0
    )


def test_render_misses_a_key_in_a_secret_that_a_file_has(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "secret.yaml"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "api-keys"}, "stringData": {"keys": "a sk-1"}}
    file.write_text(yaml.safe_dump(secret))
    assert main(["render", "-f", str(EXAMPLES / "embedding-api-keys.yaml"), "-f", str(file)]) == 1
    assert "names key api-keys of Secret api-keys, which has no such key" in capsys.readouterr().err


def test_render_says_every_problem_with_its_file_and_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    services = [a_service(name="one", args=["--nonsense=1"], surprise=1), a_service(name="two", backend="tensorflow")]
    file.write_text(yaml.safe_dump_all(services))
    assert main(["render", "-f", str(file)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[:2] for line in err.splitlines()] == [
        [str(file), "EmbeddingService one"],
        [str(file), "EmbeddingService one"],
        [str(file), "EmbeddingService two"],
    ]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("RUNTIME_IMAGES", '{"gpu": "x"}', "EMBEDDING_OPERATOR_RUNTIME_IMAGES: add an image for 'cpu'"),
        ("RUNTIME_IMAGES", '{"gpu": ', 'field "runtime_images" from source "EnvSettingsSource": Expecting value'),
        ("POLICY", '{"imags": []}', "EMBEDDING_OPERATOR_POLICY.imags: unknown field; did you mean images?"),
        ("LEASE_SECONDS", "soon", "EMBEDDING_OPERATOR_LEASE_SECONDS: Input should be a valid integer"),
        ("LEASE_SECONDS", "soon", ", not 'soon'"),
    ],
)
def test_a_setting_that_cannot_be_read_is_named_with_its_variable(
    name: str, value: str, words: str, *, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"EMBEDDING_OPERATOR_{name}", value)
    assert main(["render", "-f", str(EXAMPLES / "embedding-hf.yaml")]) == 2
    assert words in capsys.readouterr().err


def test_crds_prints_what_the_checkout_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    kept = [yaml.safe_load(path.read_text()) for path in (ROOT / "crds").iterdir()]
    assert sorted(printed, key=str) == sorted(kept, key=str)


def test_a_stale_file_of_a_checkout_is_named_and_written_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["crds", "--write", str(tmp_path)]) == 0
    assert main(["crds", "--check", str(tmp_path)]) == 0
    stale = tmp_path / "crds/serving.embeddings.dev_embeddingservices.yaml"
    stale.write_text("something else")
    assert main(["crds", "--check", str(tmp_path)]) == 1
    assert "crds/serving.embeddings.dev_embeddingservices.yaml is stale" in capsys.readouterr().err


def test_the_charts_crds_can_be_left_out_and_survive_an_uninstall() -> None:
    for path in (ROOT / "charts/embedding-operator/templates/crds").iterdir():
        text = path.read_text()
        assert "{{- if .Values.crds.enabled }}" in text
        assert "helm.sh/resource-policy: keep" in text


def test_asking_for_help_loads_no_cluster_client_and_no_model_library() -> None:
    code = (
        "import sys\nfrom embedding_operator.__main__ import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'kopf', 'kubernetes', 'torch', 'fastapi', 'aiohttp'} & sys.modules.keys()\n"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "embedding-operator render -f" in done.stdout
