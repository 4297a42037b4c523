"""Python code of a model: it runs only with the flag, and then as in sentence-transformers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.contract import ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from support.models import a_model
from support.runtime_server import RuntimeServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
remote_code = pytest.importorskip("embedding_runtime.worker.backends.remote_code")

TEXTS = ["a", "", "the quick brown fox", "jumps over " * 12, *(f"query {n} " * n for n in range(1, 6))]

SQUARING_BERT = """
from transformers import BertModel

class SquaringBert(BertModel):
    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        found.last_hidden_state = found.last_hidden_state.square()
        return found
"""


def asked(model: Path, *, trusted: bool = True) -> ModelSpec:
    flags = ["--model_name=novel", "--backend=huggingface", f"--model_dir={model}", f"--trust_remote_code={trusted}"]
    return ModelSpec.from_args(ServeArgs.from_argv(flags))


def reference_vectors(model: Path, *, trusted: bool = True) -> npt.NDArray[Any]:
    """Each text alone, so that no padding touches it."""
    reference = tiny.SentenceTransformer(str(model), device="cpu", trust_remote_code=trusted)
    return np.concatenate([reference.encode([text], show_progress_bar=False) for text in TEXTS])


def off(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """The largest 1 - cosine."""
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float((1 - (found * wanted).sum(axis=1) / norms).max())


def with_auto_map(model: Path, code: str, **auto_map: str) -> Path:
    path = model / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "auto_map": auto_map}))
    (model / "modeling.py").write_text(code)
    return model


@pytest.mark.model
@pytest.mark.parametrize("backend", ["huggingface", "vllm"])
def test_without_the_flag_remote_code_is_refused_and_not_run(tmp_path: Path, backend: str) -> None:
    model, ran = tiny.a_model_with_remote_code(tmp_path / "model"), tmp_path / "ran"
    with RuntimeServer(backend, model=model, env={"OWN_CODE_RAN": str(ran)}) as server:
        assert server.process.wait(120) == 1
        assert "config.json has auto_map: a model of type 'novel' needs Python code that comes with it" in server.log
        assert "review it and set --trust_remote_code=true" in server.log.splitlines()[-1]
    assert not ran.exists()


@pytest.mark.model
@pytest.mark.parametrize("backend", ["huggingface", "vllm"])
def test_with_remote_code_the_server_returns_the_vectors_of_that_code(tmp_path: Path, backend: str) -> None:
    """Its code is copied below HOME, which in a pod is the one place that can be written to."""
    model = tiny.a_model_with_remote_code(tmp_path / "model", hidden_size=128)  # vLLM wants heads of 32 or more
    ran, home = tmp_path / "ran", tmp_path / "home"
    env = {"OWN_CODE_RAN": str(ran), "HOME": str(home)}
    with RuntimeServer(backend, model=model, env=env, trust_remote_code=True) as server:
        answer = server.ready(seconds=240).embeddings(input=TEXTS).json()
        assert "running Python code that came with the model" in server.log
    assert off(np.array([item["embedding"] for item in answer["data"]]), reference_vectors(model)) < 1e-6
    assert ran.exists()
    assert list(home.rglob("modeling_novel.py"))


@pytest.mark.model
def test_code_that_vllm_cannot_run_is_refused_with_the_other_backend(tmp_path: Path) -> None:
    model = tiny.a_model_with_remote_code(tmp_path, hidden_size=128, homemade=True)
    with RuntimeServer("vllm", model=model, trust_remote_code=True) as server:
        assert server.process.wait(240) == 1
        assert "--backend=huggingface" in server.log.splitlines()[-1]


@pytest.mark.model
def test_a_class_whose_name_vllm_uses_for_another_one_is_refused(tmp_path: Path) -> None:
    bert = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"], hidden_size=128)
    model = with_auto_map(bert, SQUARING_BERT, AutoModel="modeling.SquaringBert")
    with RuntimeServer("vllm", model=model, trust_remote_code=True) as server:
        assert server.process.wait(240) == 1
        assert "vLLM's results differ from those of the code that came with" in server.log.splitlines()[-1]


@pytest.mark.parametrize(("homemade", "way"), [(False, "packed"), (True, "padded")])
def test_its_batches_are_packed_if_the_self_test_passes_and_padded_otherwise(
    tmp_path: Path, *, homemade: bool, way: str
) -> None:
    model = tiny.a_model_with_remote_code(tmp_path, homemade=homemade)
    spec = asked(model)
    backend = huggingface.load(spec)
    assert f"{way} batches" in backend.detail
    assert backend.use_half_the_cores is None  # remote code may keep state between calls
    wanted, ids = reference_vectors(model), TextTokenizer(spec).encode(TEXTS)
    assert off(backend.embed(ids), wanted) < 1e-6
    assert off(np.concatenate([backend.embed(text) for text in ids.singles()]), wanted) < 1e-6


def test_code_that_mixes_texts_is_refused(tmp_path: Path) -> None:
    model = tiny.a_model_with_remote_code(tmp_path, homemade=True)
    code = (model / "modeling_novel.py").read_text()
    (model / "modeling_novel.py").write_text(code.replace("(query, key, value, mask)", "(query, key, value)"))
    with pytest.raises(ModelRefused, match="mixes the texts of a batch: vectors of a batch differ by"):
        huggingface.load(asked(model))


@pytest.mark.parametrize("trusted", [True, False])
def test_remote_code_replaces_that_of_transformers_if_it_is_enabled(tmp_path: Path, *, trusted: bool) -> None:
    bert = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"])
    model = with_auto_map(bert, SQUARING_BERT, AutoModel="modeling.SquaringBert")
    spec = asked(model, trusted=trusted)
    found = huggingface.load(spec).embed(TextTokenizer(spec).encode(TEXTS))
    assert off(found, reference_vectors(model, trusted=trusted)) < 1e-6
    assert off(found, reference_vectors(model, trusted=not trusted)) > 0.01


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    bert = tiny.a_transformer(tmp_path, tiny.SHAPES["bert"])
    model = with_auto_map(bert, "import not_installed", AutoModel="modeling.Missing")
    with pytest.raises(ModelRefused, match="packages that were not found in your environment: not_installed"):
        huggingface.load(asked(model))


def test_a_model_without_python_code_runs_transformers(tmp_path: Path) -> None:
    assert not asked(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"])).remote_code


@pytest.mark.parametrize(("file", "argument"), [("config.json", "config"), ("tokenizer_config.json", "tokenizer")])
@pytest.mark.parametrize("name", ["owner/repo--modeling.Novel", [None, "owner/repo--modeling.Novel"]])
def test_code_that_is_in_another_repository_is_refused(tmp_path: Path, file: str, argument: str, name: Any) -> None:
    says: dict[str, Any] = {argument: {"auto_map": {"AutoModel": name}}}
    model = a_model(tmp_path, **says)
    with pytest.raises(ModelRefused, match=rf"{file} has auto_map 'owner/repo--modeling.Novel'.* another repository"):
        asked(model)
