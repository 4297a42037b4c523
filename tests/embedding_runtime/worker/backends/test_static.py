"""Static models (StaticEmbedding, model2vec), compared with sentence-transformers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from embedding_runtime.contract import BackendName, Dtype, Quantization, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import as_dense, as_ragged
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.choice import choose
from support.runtime_server import RuntimeServer

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")

from sentence_transformers.sentence_transformer.modules import StaticEmbedding  # noqa: E402 after the skip

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "a",
    "Upper CASE, Ünïcödé, 你好, 🙂 <unk> [CLS]",
    "jumps over " * 300,
    *(f"query {n} " * n for n in range(1, 6)),
]


def a_table(rows: int, dtype: str = "float32") -> Any:
    table = np.random.default_rng(3).normal(size=(rows, 24))
    return (table * 50).astype(dtype) if dtype == "int8" else table.astype(dtype)


def saved(directory: Path, *modules: Any, dtype: str = "float32", **options: Any) -> Path:
    """As sentence-transformers saves it, with `modules` after the table."""
    tokenizer = tiny.a_tokenizer(tiny.SHAPES["bert"])
    static = StaticEmbedding(tokenizer, embedding_weights=a_table(len(tokenizer), dtype))
    tiny.SentenceTransformer(modules=[static, *modules], device="cpu", **options).save_pretrained(
        str(directory), create_model_card=False
    )
    return directory


def model2vec(directory: Path, *, normalize: bool = False, limit: int | None = 512, **tensors: Any) -> Path:
    """As model2vec saves it, without the modules.json of later releases.

    model2vec/persistence/persistence.py (save_pretrained, load_pretrained) of model2vec 0.10.
    """
    directory.mkdir()
    tiny.a_tokenizer(tiny.SHAPES["bert"]).backend_tokenizer.save(str(directory / "tokenizer.json"))
    save_file(tensors, directory / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": normalize, "max_length": limit}
    (directory / "config.json").write_text(json.dumps(config))
    return directory


def vectors(model: Path, **flags: Any) -> Any:
    """Of TEXTS, in a batch. Each text alone has the same."""
    args = ServeArgs.model_validate({"model_name": "static", "model_dir": model, **flags})
    spec = ModelSpec.from_args(args)
    backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    ids = TextTokenizer(spec).encode(TEXTS)
    rows = as_dense(backend.embed(ids))
    assert np.array_equal(rows, np.concatenate([as_dense(backend.embed(text)) for text in ids.singles()]))
    return rows


def assert_same(found: Any, wanted: Any, *, tolerance: float = 1e-6) -> None:
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < tolerance


@pytest.mark.parametrize("steps", [[], [tiny.Normalize()]], ids=["mean", "normalized"])
@pytest.mark.parametrize(
    "options", [{}, {"truncate_dim": 8}, {"prompts": {"q": "query: "}, "default_prompt_name": "q"}]
)
def test_vectors_equal_those_of_static_embedding(tmp_path: Path, steps: list[Any], options: dict[str, Any]) -> None:
    model = saved(tmp_path, *steps, **options)
    assert_same(vectors(model), tiny.SentenceTransformer(str(model), device="cpu").encode(TEXTS))


def test_a_half_precision_table_is_averaged_in_float32(tmp_path: Path) -> None:
    model = saved(tmp_path, tiny.Normalize(), dtype="float16")
    assert_same(vectors(model), tiny.SentenceTransformer(str(model), device="cpu").encode(TEXTS), tolerance=2e-3)


WORDS = 301
"""Of the tokenizer."""
QUANTIZED = {
    "embeddings": a_table(40),
    "mapping": np.random.default_rng(4).integers(0, 40, WORDS),
    "weights": np.random.default_rng(5).random(WORDS),
}


@pytest.mark.parametrize(
    "tensors",
    [
        {"embeddings": a_table(WORDS)},
        {"embeddings": a_table(WORDS), "weights": QUANTIZED["weights"].astype("float32")},
        {"embeddings": a_table(40), "mapping": QUANTIZED["mapping"]},
        QUANTIZED,
        {**QUANTIZED, "embeddings": a_table(40, "int8")},
        {**QUANTIZED, "embeddings": a_table(40, "float16"), "mapping": QUANTIZED["mapping"].astype("int32")},
    ],
    ids=["plain", "weights", "mapping", "quantized", "int8", "float16"],
)
@pytest.mark.parametrize("normalize", [True, False])
def test_model2vecs_own_layout_equals_static_embedding(
    tmp_path: Path,
    tensors: dict[str, Any],
    normalize: bool,  # noqa: FBT001 a table
) -> None:
    """StaticEmbedding.load folds mapping and weights; Normalize is the module that model2vec writes for `normalize`."""
    model = model2vec(tmp_path / "model", normalize=normalize, limit=None, **tensors)
    modules = [StaticEmbedding.load(str(model)), *([tiny.Normalize()] if normalize else [])]
    wanted = tiny.SentenceTransformer(modules=modules, device="cpu").encode(TEXTS)
    assert_same(vectors(model), wanted, tolerance=1e-6 * max(1, np.abs(wanted).max()))


def test_an_empty_text_is_a_vector_of_zeros_as_in_static_embedding(tmp_path: Path) -> None:
    model = saved(tmp_path, tiny.Normalize())
    spec = ModelSpec.read(model)
    found = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).embed(
        TextTokenizer(spec).encode(["", "a"])
    )
    assert_same(found, tiny.SentenceTransformer(str(model), device="cpu").encode(["", "a"]))
    assert not as_dense(found)[0].any()


def test_the_vectors_of_tokens_are_rows_of_the_table(tmp_path: Path) -> None:
    spec = ModelSpec.read(saved(tmp_path))
    ids = TextTokenizer(spec).encode(TEXTS)
    backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    rows = as_ragged(backend.embed(ids, Output.PER_TOKEN))
    assert np.array_equal(rows.values, a_table(WORDS)[ids.ids])
    assert np.array_equal(rows.lengths, ids.lengths)


def test_the_longest_text_is_that_of_the_tokenizer_or_of_model2vecs_config(tmp_path: Path) -> None:
    model = saved(tmp_path / "saved")
    assert ModelSpec.read(model).max_length > 1_000_000
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    cut = {"max_length": 7, "direction": "Left", "strategy": "LongestFirst", "stride": 0}
    (model / "tokenizer.json").write_text(json.dumps({**tokenizer, "truncation": cut}))
    spec = ModelSpec.read(model)
    assert (spec.max_length, spec.cut_side) == (7, "left")
    ids = TextTokenizer(spec).cut(TextTokenizer(spec).encode(TEXTS[:1]).ids, 7, spec.cut_side)
    found = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).embed(TokenBatch.of([ids]))
    assert_same(found, tiny.SentenceTransformer(str(model), device="cpu").encode(TEXTS[:1]))
    table = a_table(WORDS)
    assert ModelSpec.read(model2vec(tmp_path / "limited", embeddings=table)).max_length == 512
    assert ModelSpec.read(model2vec(tmp_path / "any", limit=None, embeddings=table)).max_length > 1_000_000


PROGRAM = """
import json, sys
from dataclasses import asdict
from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.worker.backends.choice import Choice
from embedding_runtime.worker.loaded_backend import load
from embedding_runtime.worker.warm_up import speed_of

choice = Choice(BackendName.HUGGINGFACE, "of the test")
loaded = load(ServeArgs(model_name="static", model_dir=sys.argv[1]), {"choice": asdict(choice)})
speed_of(loaded, choice.backend)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_a_worker_loads_and_computes_without_torch(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, saved(tmp_path)], capture_output=True, check=True)
    assert {"torch", "transformers", "sentence_transformers", "vllm", "scipy"} & set(json.loads(done.stdout)) == set()


def test_auto_serves_it_by_huggingface_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedding_runtime.worker.backends.choice._installed", lambda: Path("vllm"))
    args = ServeArgs.model_validate({"model_name": "static", "model_dir": saved(tmp_path)})
    choice = choose(args, ModelSpec.from_args(args))
    assert choice.backend == BackendName.HUGGINGFACE
    assert "is a static model (model2vec), which has no transformer" in choice.reason


def test_vllm_refuses_it_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match=r"is a static model \(model2vec\), .*; use --backend=huggingface"):
        registry.load(BackendName.VLLM, ModelSpec.read(saved(tmp_path)), allow_pickle=False)


@pytest.mark.parametrize("flag", [{"dtype": Dtype.FLOAT16}, {"quantize": Quantization.INT8}])
def test_less_precision_is_refused(tmp_path: Path, flag: dict[str, str]) -> None:
    ((name, value),) = flag.items()
    with pytest.raises(ModelRefused, match=rf"--{name}={value} is not supported for the static model"):
        vectors(saved(tmp_path), **flag)


def test_a_table_of_another_type_is_refused(tmp_path: Path) -> None:
    model = model2vec(tmp_path / "model", embeddings=a_table(WORDS).astype("int16"))
    with pytest.raises(ModelRefused, match=r"has embeddings in I16, but for static models only F64, F32, F16, .*"):
        vectors(model)


def test_a_server_answers_as_for_any_embedding_model(tmp_path: Path) -> None:
    model = saved(tmp_path, tiny.Normalize())
    wanted = tiny.SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    with RuntimeServer("huggingface", model=model, workers=2) as server:
        found = server.ready().post("/v1/embeddings", input=TEXTS).json()
        empty = server.post("/v1/embeddings", input="")
        with server.http() as http:
            told = http.get("/v1/models").json()["data"][0]
    assert_same(np.array([item["embedding"] for item in found["data"]]), wanted)
    assert (told["kind"], told["pooling"], told["normalized"]) == ("embedding model", "mean", True)
    assert (empty.status_code, "has no tokens" in empty.text) == (400, True)
