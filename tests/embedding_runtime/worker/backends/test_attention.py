"""The attention kernel returns torch's results, and is used only where it does."""

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import attention, huggingface
from support import tiny_models as tiny

COMPILE = Path(__file__).parents[4] / "runtime/attention.sh"

SOURCE = Path(attention.__file__).with_suffix(".c")

CPU = torch.backends.cpu.get_cpu_capability()

VARIANTS = {"avx2": CPU in ("AVX2", "AVX512"), "avx512": CPU == "AVX512"}
"""Whether this CPU can run it."""

COMPILED = [SOURCE.with_name(f"attention_{variant}.so") for variant in VARIANTS]

LENGTHS = [1, 1, 3, 12, 13, 16, 17, 17, 31, 32, 33, 48, 64, 65, 100, 250, 511, 512]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled ones of this checkout, if they are current, because compiling takes seconds."""
    if all(path.exists() and path.stat().st_mtime > SOURCE.stat().st_mtime for path in COMPILED):
        return SOURCE.parent
    if shutil.which("gcc") is None:
        pytest.skip("the attention kernel cannot be compiled without gcc")
    directory = tmp_path_factory.mktemp("libraries")
    subprocess.run([COMPILE, directory], check=True)
    return directory


@pytest.fixture(params=VARIANTS)
def kernel(libraries: Path, request: pytest.FixtureRequest) -> attention.Kernel:
    if not VARIANTS[request.param]:
        pytest.skip(f"this CPU has no {request.param}")
    return attention.Kernel(libraries / f"attention_{request.param}.so")


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the kernel is looked for: empty."""
    monkeypatch.setattr(attention, "_DIRECTORY", tmp_path)
    attention._verified.cache_clear()
    yield tmp_path
    attention._verified.cache_clear()


def bounds(lengths: Sequence[int]) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.cumsum([0, *lengths], dtype=np.int32)


def exact(projected: Tensor, lengths: Sequence[int], heads: int) -> Tensor:
    """Attention by its definition, in float64."""
    found = []
    for start, end in pairwise(bounds(lengths)):
        text = projected[start:end].double()
        query, key, value = text.view(len(text), 3, heads, -1).permute(1, 2, 0, 3)
        weights = (query @ key.transpose(1, 2) / query.shape[-1] ** 0.5).softmax(dim=-1)
        found.append((weights @ value).transpose(0, 1).reshape(len(text), -1))
    return torch.cat(found)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("spread", [0.1, 1, 10])
def test_a_ragged_batch_has_the_exact_results(kernel: attention.Kernel, size: int, spread: float) -> None:
    torch.manual_seed(2)
    projected = torch.randn(sum(LENGTHS), 3 * 3 * size)
    projected[:, : 3 * size] *= spread  # with large queries, one key of a text takes all the weight
    found = kernel(projected, bounds(LENGTHS), 3)
    torch.testing.assert_close(found.double(), exact(projected, LENGTHS, 3), rtol=0, atol=5e-6 * max(1, spread))


@pytest.mark.parametrize("size", [32, 64])
def test_each_length_has_the_exact_results(kernel: attention.Kernel, size: int) -> None:
    torch.manual_seed(2)
    lengths = list(range(1, 100))
    projected = torch.randn(sum(lengths), 3 * size)
    found = kernel(projected, bounds(lengths), 1)
    torch.testing.assert_close(found.double(), exact(projected, lengths, 1), rtol=0, atol=5e-6)


@pytest.mark.parametrize("offset", [-1e4, 1e4])
def test_scores_far_from_zero_have_the_weights_of_their_differences(kernel: attention.Kernel, offset: float) -> None:
    torch.manual_seed(2)
    projected = torch.randn(17, 3, 32)
    projected[:, :2, 0] = torch.tensor([1, offset * 32**0.5])  # adds `offset` to each score
    found = kernel(projected.view(17, 96), bounds([17]), 1)
    torch.testing.assert_close(found.double(), exact(projected.view(17, 96), [17], 1), rtol=0, atol=5e-3)


def test_a_text_that_is_not_a_number_leaves_the_others_as_they_are(kernel: attention.Kernel) -> None:
    torch.manual_seed(2)
    projected = torch.randn(60, 96)
    projected[20:40, 40] = torch.nan
    found = kernel(projected, bounds([20, 20, 20]), 1)
    assert found[20:40].isnan().all()
    assert found[:20].isfinite().all()
    assert found[40:].isfinite().all()


def test_a_batch_without_texts_has_no_results(kernel: attention.Kernel) -> None:
    assert kernel(torch.empty(0, 96), bounds([]), 1).shape == (0, 32)


@pytest.mark.skipif(not VARIANTS["avx2"], reason="this CPU has no AVX2")
def test_threads_with_small_stacks_are_enough(libraries: Path) -> None:
    program = f"""
import torch; from pathlib import Path; from embedding_runtime.worker.backends import attention
torch.set_num_threads(2)
attention._DIRECTORY = Path({str(libraries)!r})
assert attention.kernel_for(32) is not None
"""
    subprocess.run([sys.executable, "-c", program], check=True, env={**os.environ, "OMP_STACKSIZE": "128k"})


@pytest.mark.skipif(not VARIANTS["avx2"], reason="this CPU has no AVX2")
@pytest.mark.parametrize("heads", [4, 2], ids=["heads of 32", "heads of 64"])
def test_vectors_are_those_of_sentence_transformers(
    tmp_path_factory: pytest.TempPathFactory, libraries: Path, directory: Path, heads: int
) -> None:
    _install(libraries, directory)
    model = tiny.a_transformer(
        tmp_path_factory.mktemp("model"),
        tiny.SHAPES["bert"],
        hidden_size=128,
        num_attention_heads=heads,
        max_position_embeddings=600,
    )
    random = np.random.default_rng(4)
    lengths = random.permutation([*range(1, 20), *LENGTHS, 513, 600])  # the last two are left to torch
    texts = [random.integers(3, 50, length, dtype=np.int32) for length in lengths]
    reference = SentenceTransformer(str(model), device="cpu")
    wanted = torch.stack([_encoded(reference, text) for text in texts])
    backend = huggingface.load(ModelSpec.read(model))
    batches = [TokenBatch.of(texts[start : start + 13]) for start in range(0, len(texts), 13)]
    found = torch.cat([torch.from_numpy(as_dense(backend.embed(batch))) for batch in batches])
    assert attention.kernel_for(128 // heads) is not None
    assert torch.cosine_similarity(found, wanted).min() > 0.99999


def _install(libraries: Path, directory: Path) -> None:
    for compiled in COMPILED:
        shutil.copy(libraries / compiled.name, directory)


def _encoded(reference: SentenceTransformer, ids: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Tensor:
    row = torch.from_numpy(ids.astype(np.int64))[None]
    features = {"input_ids": row, "attention_mask": torch.ones_like(row), "token_type_ids": torch.zeros_like(row)}
    with torch.inference_mode():
        found: Tensor = reference(features)["sentence_embedding"]
    return found[0]


def test_other_sizes_of_heads_have_no_kernel() -> None:
    assert attention.kernel_for(48) is None


@pytest.mark.skipif(not VARIANTS["avx2"], reason="this CPU has no AVX2")
def test_without_a_compiled_kernel_torch_is_used(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert attention.kernel_for(32) is None
    assert f"{directory / attention._LIBRARIES[CPU]} is missing, and torch's attention is used" in caplog.text


@pytest.mark.skipif(not VARIANTS["avx2"], reason="this CPU has no AVX2")
def test_a_kernel_that_cannot_be_loaded_is_not_used(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    library = directory / attention._LIBRARIES[CPU]
    library.write_bytes(b"not a library")
    with caplog.at_level(logging.WARNING):
        assert attention.kernel_for(32) is None
    assert f"{library} cannot be loaded, and torch's attention is used" in caplog.text


@pytest.mark.skipif(not VARIANTS["avx2"], reason="this CPU has no AVX2")
def test_a_kernel_with_other_results_than_torch_is_not_used(
    libraries: Path, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    _install(libraries, directory)
    right = attention.Kernel.__call__
    monkeypatch.setattr(attention.Kernel, "__call__", lambda *given: right(*given) * 1.001)
    with caplog.at_level(logging.WARNING):
        assert attention.kernel_for(32) is None
    assert "and torch's attention is used" in caplog.text
