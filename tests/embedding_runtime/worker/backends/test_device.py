"""Settings for GPUs, tested without a GPU."""

from dataclasses import replace
from itertools import pairwise
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
forward_backend = pytest.importorskip("embedding_runtime.worker.backends.forward_backend")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
packed = pytest.importorskip("embedding_runtime.worker.backends.packed")
padded = pytest.importorskip("embedding_runtime.worker.backends.padded")
bert_gpu = pytest.importorskip("embedding_runtime.worker.backends.bert_gpu")
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


def test_cudnn_attention_and_tf32_are_off_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(torch.backends.cuda, "enable_cudnn_sdp", asked.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    device.prepare_gpu()
    assert asked == [False]
    assert not torch.backends.cudnn.allow_tf32


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
        forward_backend.ForwardBackend(padded.prepare(loaded.model, width), loaded.head, "", width=width)
        for width in (max, wide)
    )
    texts = TokenBatch.of([np.arange(4, 4 + length, dtype=np.int32) for length in (3, 9, 30)])
    np.testing.assert_allclose(wider.embed(texts), plain.embed(texts), atol=1e-6)
    assert (plain.padding(texts), wider.padding(texts)) == (0, 5 + 7 + 2)


def attention_per_text(query: Any, key: Any, value: Any, layout: Any) -> Any:
    """Computes the results of the GPU kernels on a CPU."""
    ends = layout.ends.tolist()
    parts = [[each[start:stop].transpose(0, 1) for each in (query, key, value)] for start, stop in pairwise(ends)]
    return torch.cat([torch.nn.functional.scaled_dot_product_attention(*part).transpose(0, 1) for part in parts])


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta"])
def test_fused_bert_for_gpus_has_the_results_of_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(packed, "attend_at_once", attention_per_text)
    spec = ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES[name]))
    model = transformer.load(spec).model
    lengths = (9, 2, 30, 9, 1)
    types = [np.arange(length) >= length // 2 for length in lengths] if name == "bert" else None
    texts = TokenBatch.of(
        [np.arange(4, 4 + length, dtype=np.int32) for length in lengths],
        None if types is None else [each.astype(np.uint8) for each in types],
    )
    assert bert_gpu.is_supported(model)
    with torch.inference_mode():
        found = bert_gpu.prepare(model)(texts)
        alone = torch.cat([padded.prepare(model)(text) for text in texts.singles()])
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


def test_models_with_other_layers_are_not_fused(tmp_path: Path) -> None:
    model = transformer.load(ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES["mpnet"]))).model
    assert not bert_gpu.is_supported(model)


def test_rows_are_available_at_once_on_a_cpu() -> None:
    copy = device.HostCopy(torch.ones(2, 3))
    assert copy.is_done()
    assert copy.wait().tolist() == [[1.0] * 3] * 2


def test_arrays_copied_together_are_split_again() -> None:
    first, second = device.together_to_device([np.arange(3), np.arange(2, dtype=np.uint32)], torch.device("cpu"))
    assert (first.tolist(), second.tolist(), first.dtype) == ([0, 1, 2], [0, 1], torch.int32)
