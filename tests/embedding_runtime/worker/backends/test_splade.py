"""Sparse encoders on the huggingface backend, compared with SparseEncoder."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import BackendName, Dtype, Kind, Quantization, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import as_ragged, with_zeros
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.choice import choose

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")
splade = pytest.importorskip("embedding_runtime.worker.backends.splade")

TEXTS = [
    "a",
    "",
    "the quick brown fox",
    "Upper CASE, Ünïcödé, 你好, 🙂",
    *(f"query {n} " * n for n in range(1, 6)),
    "jumps over the lazy dog " * 2,
]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks smaller than the longest text."""
    monkeypatch.setattr(splade, "CHUNK", 16)


@pytest.mark.parametrize("shape", ["bert", "distilbert", "mpnet", "roberta", "xlm-roberta", "modernbert"])
@pytest.mark.parametrize(
    ("strategy", "activation", "options"),
    [
        ("max", "relu", {}),
        ("sum", "relu", {"prompts": {"query": "query: "}, "default_prompt_name": "query"}),
        ("max", "log1p_relu", {"max_active_dims": 20}),
    ],
)
@pytest.mark.usefixtures("small_chunks")
def test_sparse_vectors_equal_those_of_sparse_encoder(
    tmp_path: Path, shape: str, strategy: str, activation: str, options: dict[str, Any]
) -> None:
    model = tiny.a_sparse_encoder(tmp_path, tiny.SHAPES[shape], strategy=strategy, activation=activation, **options)
    check(model)


@pytest.mark.parametrize("shape", ["bert", "xlm-roberta"])
def test_models_of_earlier_releases_are_served_too(tmp_path: Path, shape: str) -> None:
    check(tiny.as_old_format(tiny.a_sparse_encoder(tmp_path, tiny.SHAPES[shape])))


def check(model: Path) -> None:
    reference = tiny.SparseEncoder(str(model), device="cpu")
    wanted = np.stack([reference.encode([text]).to_dense().numpy()[0] for text in TEXTS])
    spec = ModelSpec.read(model)
    assert (spec.kind, spec.dimensions) == (Kind.SPARSE_ENCODER, wanted.shape[1])
    assert spec.similarity == "dot"
    backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    ids = TextTokenizer(spec).encode(TEXTS, prompt=spec.prompt)
    together = as_ragged(backend.embed(ids))
    assert (together.values > 0).all()
    order = np.random.default_rng(6).permutation(len(ids))
    shuffled = with_zeros(as_ragged(backend.embed(ids.reordered(order))).reordered(np.argsort(order)), spec.dimensions)
    alone = np.concatenate([with_zeros(backend.embed(text), spec.dimensions) for text in ids.singles()])
    for found in (with_zeros(together, spec.dimensions), shuffled, alone):
        assert np.abs(found - wanted).max() < 1e-4
        assert np.array_equal(found > 1e-4, wanted > 1e-4)


def test_the_default_backend_is_huggingface_and_vllm_is_refused_by_name(tmp_path: Path) -> None:
    model = tiny.a_sparse_encoder(tmp_path, tiny.SHAPES["bert"])
    args = ServeArgs(model_name="m", model_dir=model)
    assert choose(args, ModelSpec.from_args(args)).backend is BackendName.HUGGINGFACE
    with pytest.raises(ModelRefused, match=r"it is a sparse encoder \(SPLADE\); use --backend=huggingface"):
        registry.load(BackendName.VLLM, ModelSpec.read(model), allow_pickle=False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"quantize": Quantization.INT8}, "--quantize=int8 is not supported for the sparse encoder"),
        ({"matryoshka": (64,)}, "--matryoshka: .* returns sparse vectors"),
        ({"task": "text_ranking"}, "which is a sparse encoder: use --task=text_embedding"),
    ],
)
def test_flags_that_make_no_sense_are_refused(tmp_path: Path, flags: dict[str, Any], words: str) -> None:
    model = tiny.a_sparse_encoder(tmp_path, tiny.SHAPES["bert"])
    args = ServeArgs(model_name="m", model_dir=model, backend=BackendName.HUGGINGFACE, **flags)
    with pytest.raises(ModelRefused, match=words):
        ModelSpec.from_args(args)


@pytest.mark.parametrize("key", ["pooling_strategy", "activation_function"])
def test_an_unknown_pooling_is_refused_by_name(tmp_path: Path, key: str) -> None:
    model = tiny.a_sparse_encoder(tmp_path, tiny.SHAPES["bert"])
    (path,) = model.glob("1_*/config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), key: "median"}))
    with pytest.raises(ModelRefused, match=f"has {key} 'median', but only .* are supported"):
        ModelSpec.read(model)


def test_a_smaller_type_stays_close(tmp_path: Path) -> None:
    spec = ModelSpec.read(tiny.a_sparse_encoder(tmp_path, tiny.SHAPES["bert"]))
    ids = TextTokenizer(spec).encode(TEXTS)
    full, small = (
        with_zeros(
            registry.load(BackendName.HUGGINGFACE, replace(spec, dtype=kind), allow_pickle=False).embed(ids),
            spec.dimensions,
        )
        for kind in (Dtype.FLOAT32, Dtype.BFLOAT16)
    )
    cosines = (small * full).sum(axis=1) / np.linalg.norm(small, axis=1) / np.linalg.norm(full, axis=1)
    assert cosines.min() > 0.99
