"""The Hugging Face backend in this process, on tiny models: packed where that is exact, padded where it is not."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import Dtype
from embedding_runtime.modelspec import ModelRefused, ModelSpec, Pooling
from embedding_runtime.wire import TokenIds
from support.models import a_model

pytestmark = pytest.mark.model

huggingface = pytest.importorskip("embedding_runtime.backends.huggingface")
packed = pytest.importorskip("embedding_runtime.backends.packed")
padded = pytest.importorskip("embedding_runtime.backends.padded")
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 50,
    "max_position_embeddings": 80,
}
LENGTHS = [1, 5, 5, 2, 64, 5, 17, 33]


def tiny(directory: Path, kind: str, **spec: Any) -> ModelSpec:
    """Random weights, the same each time."""
    torch.manual_seed(3)
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **TINY)).save_pretrained(directory)
    saved = (directory / "config.json").read_bytes()
    a_model(directory, pooling={"embedding_dimension": 32})
    (directory / "config.json").write_bytes(saved)
    return replace(ModelSpec.read(directory), **spec)


def texts(*lengths: int) -> list[TokenIds]:
    random = np.random.default_rng(4)
    return [random.integers(3, 50, length, dtype=np.int32) for length in lengths]


def states_alone(spec: ModelSpec, ids: TokenIds) -> Any:
    """(tokens, hidden) by the model's own code, in the way of its documentation."""
    model = transformers.AutoModel.from_pretrained(spec.directory, dtype=torch.float32).eval()
    with torch.inference_mode():
        return model(input_ids=torch.tensor(ids)[None].long()).last_hidden_state[0].numpy()


@pytest.mark.parametrize("kind", ["bert", "roberta", "mpnet", "distilbert"])
def test_vectors_are_the_models_own_whoever_shares_the_batch(tmp_path: Path, kind: str) -> None:
    spec = tiny(tmp_path, kind, normalize=False)
    batch = texts(*LENGTHS)
    expected = np.stack([states_alone(spec, ids).mean(axis=0) for ids in batch])
    assert np.abs(huggingface.load(spec).embed(batch) - expected).max() < 1e-5


@pytest.mark.parametrize(("kind", "way"), [("bert", "packed"), ("mpnet", "padded")])
def test_a_batch_is_packed_where_the_model_allows(tmp_path: Path, kind: str, way: str) -> None:
    assert huggingface.load(tiny(tmp_path, kind)).detail.endswith(f"{way} batches")


@pytest.mark.parametrize("pooling", Pooling)
@pytest.mark.parametrize("normalized", [True, False])
def test_pooling_is_what_the_files_say(tmp_path: Path, pooling: Pooling, *, normalized: bool) -> None:
    spec = tiny(tmp_path, "bert", pooling=pooling, normalize=normalized)
    batch = texts(*LENGTHS)
    of = {
        Pooling.CLS: lambda states: states[0],
        Pooling.MEAN: lambda states: states.mean(axis=0),
        Pooling.LAST_TOKEN: lambda states: states[-1],
    }[pooling]
    expected = np.stack([of(states_alone(spec, ids)) for ids in batch])  # type: ignore[no-untyped-call] # a lambda
    if normalized:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(huggingface.load(spec).embed(batch) - expected).max() < 1e-5


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16])
def test_a_smaller_type_is_obeyed_and_stays_near(tmp_path: Path, dtype: Dtype) -> None:
    spec = tiny(tmp_path, "bert")
    small, full = (
        huggingface.load(replace(spec, dtype=kind)).embed(texts(*LENGTHS)) for kind in (dtype, Dtype.FLOAT32)
    )
    assert small.dtype == np.float32
    assert not np.array_equal(small, full)
    assert (small * full).sum(axis=1).min() > 0.999


def test_weights_that_are_missing_are_refused_never_made_up(tmp_path: Path) -> None:
    spec = tiny(tmp_path, "bert")
    weights = transformers.AutoModel.from_pretrained(tmp_path)
    del weights.encoder.layer[1]
    weights.config.num_hidden_layers = 1
    weights.save_pretrained(tmp_path / "less")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "less" / "model.safetensors").read_bytes())
    with pytest.raises(ModelRefused, match=r"lack encoder\.layer\.1\..* in all"):
        huggingface.load(spec)


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    spec = tiny(tmp_path, "bert")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelRefused, match=r"transformers cannot load .*model\.safetensors"):
        huggingface.load(spec)


def test_runs_cover_a_row_text_by_text() -> None:
    assert [tuple(run) for run in packed.runs_of([2, 2, 3, 5, 5, 5])] == [(0, 4, 2), (4, 7, 1), (7, 22, 3)]


def test_padding_adds_a_fifth_at_most() -> None:
    grouped = [[len(text) for text in group] for group in padded.groups(texts(10, 11, 12, 13, 14, 20))]
    assert grouped == [[10, 11, 12], [13, 14], [20]]
