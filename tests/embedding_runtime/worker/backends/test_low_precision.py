"""bfloat16 and int8 on CPUs: distance to float32, independence of the batch, and refusals."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import Dtype, Quantization
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import LoadOptions
from support.models import packaged_minilm

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

torch = pytest.importorskip("torch")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
low_precision = pytest.importorskip("embedding_runtime.worker.backends.low_precision")
sentence_transformers = pytest.importorskip("sentence_transformers")
tiny = pytest.importorskip("support.tiny_models")

CPU = torch.cpu.get_capabilities()
BFLOAT16 = pytest.param(
    {"dtype": Dtype.BFLOAT16},
    id="bfloat16",
    marks=pytest.mark.skipif(not CPU.get("avx512_bf16") and not CPU.get("amx_bf16"), reason="no bfloat16 on this CPU"),
)
INT8 = pytest.param(
    {"quantize": Quantization.INT8},
    id="int8",
    marks=pytest.mark.skipif(not CPU.get("avx512_vnni") and not CPU.get("avx_vnni"), reason="no VNNI on this CPU"),
)
ANY_COSINE = LoadOptions(minimum_cosine=-1)
FUSED = ["bert", "mpnet", "roberta", "xlm-roberta"]
TEXTS = [
    "This is an example sentence for embedding generation.",
    "short",
    "Kubernetes schedules pods onto nodes that have room for what they request. " * 6,
    "Ünïcödé – naïve café, 42 times: 你好，世界",
    "def reconcile(self) -> None: return self.plan.apply()",
]


def spec_of(directory: Path, **fields: Any) -> ModelSpec:
    return replace(ModelSpec.read(directory), **fields)


def ids(*lengths: int) -> TokenBatch:
    random = np.random.default_rng(4)
    return TokenBatch.of([random.integers(4, 50, length, dtype=np.int32) for length in lengths])


def lowest_cosine(found: VectorRows, expected: VectorRows) -> float:
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((found * expected).sum(axis=1) / lengths).min())


def sentence_transformers_own(texts: Sequence[str]) -> VectorRows:
    model = sentence_transformers.SentenceTransformer(str(packaged_minilm()), device="cpu")
    rows: VectorRows = model.encode(list(texts))
    return rows


@pytest.mark.parametrize(
    ("reduced", "least"), [(*BFLOAT16.values, 0.9999), (*INT8.values, 0.995)], ids=["bf16", "int8"]
)
def test_minilm_is_close_to_sentence_transformers(reduced: dict[str, Any], least: float) -> None:
    spec = spec_of(packaged_minilm(), **reduced)
    backend = huggingface.load(spec, ANY_COSINE)
    assert "fused" in backend.detail
    assert least <= backend.cosine < 1
    cosine = lowest_cosine(backend.embed(TextTokenizer(spec).encode(TEXTS)), sentence_transformers_own(TEXTS))
    assert cosine >= least


@pytest.mark.parametrize("reduced", [BFLOAT16, INT8])
@pytest.mark.parametrize("shape", FUSED)
def test_every_architecture_of_the_family_is_served_near_float32(
    tmp_path: Path, shape: str, reduced: dict[str, Any]
) -> None:
    spec = spec_of(tiny.a_transformer(tmp_path, tiny.SHAPES[shape]))
    exact = huggingface.load(spec).embed(ids(1, 5, 5, 40))
    rows = huggingface.load(replace(spec, **reduced), ANY_COSINE).embed(ids(1, 5, 5, 40))
    assert np.isfinite(rows).all()
    assert not np.array_equal(rows, exact)
    assert lowest_cosine(rows, exact) > 0.99


@pytest.mark.parametrize("reduced", [BFLOAT16, INT8])
def test_a_vector_does_not_depend_on_other_texts_of_the_batch(reduced: dict[str, Any]) -> None:
    backend = huggingface.load(spec_of(packaged_minilm(), **reduced), ANY_COSINE)
    texts = ids(3, 7, 7, 60, 200)
    together, alone = backend.embed(texts), np.concatenate([backend.embed(text) for text in texts.singles()])
    assert lowest_cosine(together, alone) > 1 - 1e-5


@pytest.mark.parametrize("reduced", [BFLOAT16, INT8])
def test_a_cosine_below_the_minimum_is_refused_with_both_numbers(tmp_path: Path, reduced: dict[str, Any]) -> None:
    spec = spec_of(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]), **reduced)
    with pytest.raises(
        ModelRefused, match=r"a cosine similarity of 0\.99\d+ to float32.*--minimum_cosine=1: use float32"
    ):
        huggingface.load(spec, LoadOptions(minimum_cosine=1))


def test_int8_of_a_model_outside_of_the_family_is_refused_by_name(tmp_path: Path) -> None:
    spec = spec_of(tiny.a_transformer(tmp_path, tiny.SHAPES["modernbert"]), quantize=Quantization.INT8)
    with pytest.raises(ModelRefused, match=r"--quantize=int8 is not supported for ModernBertModel.*Bert, .*remove"):
        huggingface.load(spec, ANY_COSINE)


def test_int8_on_a_cpu_without_vnni_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(ModelRefused, match=r"--quantize=int8 needs a CPU with VNNI"):
        huggingface.load(spec_of(packaged_minilm(), quantize=Quantization.INT8), ANY_COSINE)


def test_bfloat16_on_a_cpu_without_it_is_served_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    spec = spec_of(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]), dtype=Dtype.BFLOAT16)
    assert "fused" not in huggingface.load(spec, ANY_COSINE).detail
    assert "slower than float32 on this CPU" in caplog.text


def test_a_type_that_the_models_files_have_is_not_measured(tmp_path: Path) -> None:
    spec = spec_of(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"]))
    assert huggingface.load(spec).cosine is None
    assert huggingface.load(replace(spec, dtype=Dtype.BFLOAT16, files_dtype=Dtype.BFLOAT16)).cosine is None


def test_a_token_of_zeros_has_a_result() -> None:
    layer = low_precision.Int8Linear(torch.randn(8, 16), torch.ones(8))
    layer.forward(torch.randn(2, 16))
    layer.quantize()
    assert torch.equal(layer.forward(torch.zeros(2, 16)), torch.ones(2, 8))


def test_a_number_below_the_calibrated_range_is_clamped() -> None:
    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    layer = low_precision.Int8Linear(weights, None)
    layer.forward(torch.rand(32, 64) - 0.13)  # as if GELU came before it
    layer.quantize()
    low = torch.rand(32, 64) - 0.13
    low[:, 0] = -0.5
    exact = low.clamp_min(-0.17) @ weights.T
    assert torch.nn.functional.cosine_similarity(layer.forward(low), exact).min() > 0.999
