"""Python code of a model: it runs only with the flag, and then as in sentence-transformers."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.contract import CODE_VARIABLE, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec, space
from embedding_runtime.model.tokenizer import TextTokenizer
from support.fake_hub import FakeHub
from support.initializer import hub_environment, initialize
from support.models import a_model
from support.runtime_server import RuntimeServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")
tiny = pytest.importorskip("support.tiny_models")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
remote_code = pytest.importorskip("embedding_runtime.worker.backends.remote_code")

TEXTS = ["a", "", "the quick brown fox", "jumps over " * 12, *(f"query {n} " * n for n in range(1, 6))]


@pytest.fixture(autouse=True)
def no_code_of_other_tests(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers keeps the code of models by the name of their directory, for all processes and within each one."""
    cache = tmp_path_factory.mktemp("modules")
    for module in ("transformers.dynamic_module_utils", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.HF_MODULES_CACHE", str(cache))
    monkeypatch.setenv("HF_MODULES_CACHE", str(cache))
    monkeypatch.syspath_prepend(cache)
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers_modules"]:
        monkeypatch.delitem(sys.modules, name)


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
        assert server.process.wait(240) == 1
        assert "config.json has auto_map: a model of type 'novel' needs Python code that comes with it" in server.log
        assert "review it and set --trust_remote_code=true" in server.log.splitlines()[-1]
    assert not ran.exists()


BACKENDS = ["huggingface", pytest.param("vllm", marks=pytest.mark.slow)]


@pytest.mark.model
@pytest.mark.parametrize("backend", BACKENDS)
def test_with_remote_code_the_server_returns_the_vectors_of_that_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """Its code is copied below HOME, which in a pod is the one place that can be written to."""
    model = tiny.a_model_with_remote_code(tmp_path / "model", hidden_size=128)  # vLLM wants heads of 32 or more
    ran, home = tmp_path / "ran", tmp_path / "home"
    monkeypatch.delenv("HF_MODULES_CACHE")
    env = {"OWN_CODE_RAN": str(ran), "HOME": str(home)}
    with RuntimeServer(backend, model=model, env=env, trust_remote_code=True) as server:
        answer = server.ready().embeddings(input=TEXTS).json()
        assert "running Python code that came with the model" in server.log
    assert off(np.array([item["embedding"] for item in answer["data"]]), reference_vectors(model)) < 1e-6
    assert ran.exists()
    assert list(home.rglob("modeling_novel.py"))


@pytest.mark.slow
@pytest.mark.model
def test_code_that_vllm_cannot_run_is_refused_with_the_other_backend(tmp_path: Path) -> None:
    model = tiny.a_model_with_remote_code(tmp_path, hidden_size=128, homemade=True)
    with RuntimeServer("vllm", model=model, trust_remote_code=True) as server:
        assert server.process.wait(240) == 1
        assert "--backend=huggingface" in server.log.splitlines()[-1]


@pytest.mark.slow
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
    with pytest.raises(
        ModelRefused, match=rf"{file} has auto_map 'owner/repo--modeling.Novel': its code is in"
    ) as said:
        asked(model)
    assert f"{model}/remote_code has no copy of it" in str(said.value)
    assert "hf download owner/repo --include '*.py' --cache-dir DIR/remote_code" in str(said.value)


HOW_TO_TRUST = [
    "from the repository owner/code",
    "--trust_remote_code=true",
    "spec.model.trustRemoteCode",
    "policy.trustRemoteCode",
    "hf download owner/code --include '*.py' --cache-dir DIR/remote_code",
]


def a_bert_with_a_layer_more(directory: Path) -> Path:
    """As jina-embeddings-v2: of a type that transformers has a class for, whose weights do not fit that class."""
    model: Path = tiny.a_transformer(directory, tiny.SHAPES["bert"])
    code = "from transformers import BertModel\nclass Other(BertModel): ...\n"
    with_auto_map(model, code, AutoModel="modeling.Other")
    weights = safetensors.load_file(model / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "attention.self.query" not in name}
    safetensors.save_file(kept, model / "model.safetensors", {"format": "pt"})
    return model


MAKERS: dict[str, Callable[[Path], Path]] = {
    "of a type that transformers does not have": tiny.a_model_with_remote_code,
    "of a type that transformers has, with other weights": a_bert_with_a_layer_more,
    "with a module of its own": tiny.a_model_with_its_own_module,
}


@pytest.mark.parametrize("kind", MAKERS)
def test_the_first_refusal_has_all_that_is_needed(tmp_path: Path, kind: str) -> None:
    model = tiny.with_code_elsewhere(MAKERS[kind](tmp_path / "model"), tmp_path / "code")
    with pytest.raises(ModelRefused) as said:
        huggingface.load(asked(model, trusted=False))
    assert [words for words in HOW_TO_TRUST if words not in str(said.value)] == []


def test_code_of_another_repository_gives_the_vectors_of_the_same_code_in_the_model(tmp_path: Path) -> None:
    original = tiny.a_model_with_remote_code(tmp_path / "original")
    wanted = reference_vectors(original)
    model = tiny.with_code_elsewhere(shutil.copytree(original, tmp_path / "model"), tmp_path / "code")
    spec = asked(tiny.with_code_beside(model, tmp_path / "code"))
    found = huggingface.load(spec).embed(TextTokenizer(spec).encode(TEXTS))
    assert off(found, wanted) < 1e-6


def test_code_of_another_repository_is_part_of_the_space(tmp_path: Path) -> None:
    model = tiny.with_code_elsewhere(tiny.a_model_with_remote_code(tmp_path / "model"), tmp_path / "code")
    before = space.digest(asked(tiny.with_code_beside(model, tmp_path / "code")))
    (code,) = model.rglob("modeling_novel.py")
    code.write_text(f"{code.read_text()}\n# changed")
    assert space.digest(asked(model)) != before


@pytest.mark.parametrize("settings", [{}, {"model_args": {"default_task": "retrieval.passage"}}])
def test_a_module_of_the_model_has_the_vectors_of_sentence_transformers(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    original = tiny.a_model_with_its_own_module(tmp_path / "original", settings)
    model = tiny.with_code_elsewhere(shutil.copytree(original, tmp_path / "model"), tmp_path / "code")
    wanted = reference_vectors(encodable(original))
    spec = asked(tiny.with_code_beside(model, tmp_path / "code"))
    backend = huggingface.load(spec)
    ids = TextTokenizer(spec).encode(TEXTS)
    assert off(backend.embed(ids), wanted) < 1e-6
    assert off(np.concatenate([backend.embed(text) for text in ids.singles()]), wanted) < 1e-6


def encodable(model: Path) -> Path:
    """The same model for the reference: sentence-transformers 6 calls modules like jina's with two `cache_dir`s."""
    code = model / "custom_st.py"
    code.write_text(re.sub(r"(, )?cache_dir=cache_dir(, )?", ", ", code.read_text()))
    return model


def test_the_task_of_a_module_moves_its_vectors_and_its_space(tmp_path: Path) -> None:
    plain = tiny.a_model_with_its_own_module(tmp_path / "plain")
    settings = {"model_args": {"default_task": "retrieval.passage"}}
    for_passages = tiny.a_model_with_its_own_module(tmp_path / "passages", settings)
    assert space.digest(asked(plain)) != space.digest(asked(for_passages))
    vectors = [reference_vectors(encodable(model)) for model in (plain, for_passages)]
    assert off(*vectors) > 0.001


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (
            "texts, padding=padding",
            "[text[::-1] for text in texts], padding=padding",
            "changes texts or tokens",
        ),
        ("self.max_seq_length = max_seq_length", "self.extra = nn.Linear(2, 2)", "lack extra.weight, extra.bias (2 in"),
        ("import json", "import not_installed", "packages that were not found in your environment: not_installed"),
    ],
)
def test_a_module_that_cannot_be_served_exactly_is_refused_by_name(
    tmp_path: Path, before: str, after: str, words: str
) -> None:
    model = tiny.a_model_with_its_own_module(tmp_path)
    code = (model / "custom_st.py").read_text()
    assert before in code
    (model / "custom_st.py").write_text(code.replace(before, after))
    with pytest.raises(ModelRefused) as said:
        huggingface.load(asked(model))
    assert words in str(said.value)
    assert "custom_st.Transformer" in str(said.value)


@pytest.mark.model
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_server_runs_the_code_that_the_initializer_downloaded_and_asks_no_hub(tmp_path: Path, backend: str) -> None:
    original = tiny.a_model_with_remote_code(tmp_path / "original", hidden_size=128)
    wanted = reference_vectors(original)
    served = tiny.with_code_elsewhere(original, tmp_path / "code")
    with FakeHub({"owner/name": served, "owner/code": tmp_path / "code"}) as hub:
        environ = hub_environment(hub) | {CODE_VARIABLE: "true"}
        assert initialize("hf://owner/name", tmp_path / "models", environ=environ).code == 0
        asked_for, commit = len(hub.seen), hub.repositories["owner/code"].commit
        env = {"HF_ENDPOINT": hub.url, "HOME": str(tmp_path / "home")}
        with RuntimeServer(backend, model=tmp_path / "models", env=env, trust_remote_code=True) as server:
            answer = server.ready().embeddings(input=TEXTS).json()
            assert f"with the code of owner/code at commit {commit}" in server.log
        assert len(hub.seen) == asked_for
    assert off(np.array([item["embedding"] for item in answer["data"]]), wanted) < 1e-6
