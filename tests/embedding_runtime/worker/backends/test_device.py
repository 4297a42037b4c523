"""What is chosen for GPUs, as far as a machine without one can tell: nothing here has run on a GPU."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import Quantization
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import LoadOptions

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

torch = pytest.importorskip("torch")
device = pytest.importorskip("embedding_runtime.worker.backends.device")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
packed = pytest.importorskip("embedding_runtime.worker.backends.packed")
padded = pytest.importorskip("embedding_runtime.worker.backends.padded")
transformer = pytest.importorskip("embedding_runtime.worker.backends.transformer")
tiny = pytest.importorskip("support.tiny_models")


def without_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU with a torch that lacks it: a CPU has no FlashAttention over texts end to end."""
    monkeypatch.setattr(packed, "_takes_flash", lambda _: True)


def distilbert(directory: Path) -> ModelSpec:
    return ModelSpec.read(tiny.a_transformer(directory, tiny.SHAPES["distilbert"]))


def test_a_packable_model_is_refused_if_torch_cannot_pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_its_kernel(monkeypatch)
    with pytest.raises(
        ModelRefused, match=r"attention over packed batches failed for DistilBertModel .*\(torch .*--allow_padded"
    ):
        huggingface.load(distilbert(tmp_path))


def test_padded_batches_are_served_where_they_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_its_kernel(monkeypatch)
    assert huggingface.load(distilbert(tmp_path), LoadOptions(allow_padded=True)).detail.endswith("padded batches")


def test_cudnn_attention_is_off_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", asked.append)
    device.prepare_gpu()
    assert asked == [False]


def test_int8_on_a_gpu_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = replace(distilbert(tmp_path), quantize=Quantization.INT8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(huggingface, "prepare_gpu", lambda: None)
    with pytest.raises(ModelRefused, match=r"--quantize=int8 is not supported on GPUs: use --dtype=float16"):
        huggingface.load(spec)


def test_padded_lengths_are_few_and_close() -> None:
    widths = {length: device.rounded_up(length, 512) for length in range(1, 513)}
    assert len(set(widths.values())) <= 32
    assert all(length <= width <= max(length + 7, length * 9 / 8) for length, width in widths.items())


def test_a_padded_length_never_exceeds_the_models_maximum() -> None:
    assert device.rounded_up(509, 510) == 510


def test_wider_rows_give_the_same_vectors_and_are_counted_as_padding(tmp_path: Path) -> None:
    spec = ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES["t5"]))
    loaded = transformer.load(spec)

    def wide(lengths: Any) -> int:
        return int(device.rounded_up(max(lengths), spec.max_length))

    plain, wider = (
        huggingface.HuggingFaceBackend(padded.prepare(loaded.model, width), loaded.head, "", width=width)
        for width in (max, wide)
    )
    texts = TokenBatch.of([np.arange(4, 4 + length, dtype=np.int32) for length in (3, 9, 30)])
    np.testing.assert_allclose(wider.embed(texts), plain.embed(texts), atol=1e-6)
    assert (plain.padding(texts), wider.padding(texts)) == (0, 5 + 7 + 2)
