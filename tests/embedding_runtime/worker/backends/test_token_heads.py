"""BGE-M3's three outputs on the huggingface backend, compared with a model of FlagEmbedding's BGEM3FlagModel."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from embedding_runtime.contract import BackendName, Dtype, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec, space
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import RaggedRows, RowSet, as_dense, as_ragged
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.choice import choose

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")

TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "a",
    "",
    "fox fox fox, query: fox",
    "Upper CASE, Ünïcödé, 你好, 🙂 <unk> </s>",
    *(f"query {n} " * n for n in range(1, 6)),
]

ALL = Output.PER_TEXT | Output.SPARSE | Output.COLBERT


class Outputs(NamedTuple):
    """Of one text."""

    dense: Any
    sparse: dict[int, float]
    colbert: Any


def reference(directory: Path, text: str) -> Outputs:
    """As FlagEmbedding 1.4.2 computes them, with transformers and torch only.

    finetune/embedder/encoder_only/m3/modeling.py: _dense_embedding, _sparse_embedding, _colbert_embedding, forward;
    inference/embedder/encoder_only/m3.py: _process_token_weights, _process_colbert_vecs.
    """
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 takes seconds

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModel.from_pretrained(directory, dtype=torch.float32)
    layers = {name: torch.load(directory / f"{name}_linear.pt", weights_only=True) for name in ("sparse", "colbert")}
    with torch.no_grad():
        inputs = tokenizer(text, return_tensors="pt")
        hidden = model(**inputs).last_hidden_state[0]
        token_weights = (hidden @ layers["sparse"]["weight"].T + layers["sparse"]["bias"]).relu()[:, 0]
        colbert = hidden[1:] @ layers["colbert"]["weight"].T + layers["colbert"]["bias"]
    unused = {tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    sparse: dict[int, float] = {}
    for weight, id_ in zip(token_weights.tolist(), inputs["input_ids"][0].tolist(), strict=True):
        if id_ not in unused and weight > sparse.get(id_, 0):
            sparse[id_] = weight
    normalize = torch.nn.functional.normalize
    return Outputs(normalize(hidden[0], dim=-1).numpy(), sparse, normalize(colbert, dim=-1).numpy())


def an_m3(directory: Path) -> Path:
    """BGE-M3 in small: its class, pooling, and files."""
    body = tiny.a_transformer(directory / "body", tiny.SHAPES["xlm-roberta"])
    model = tiny.saved(directory / "model", body, pooling="cls", steps=[tiny.Normalize()])
    config = model / "tokenizer_config.json"
    config.write_text(config.read_text().replace('"bos_token"', '"cls_token": "<s>", "bos_token"'))
    found: Path = tiny.with_token_heads(model)
    return found


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return an_m3(tmp_path_factory.mktemp("m3"))


def spec_of(model: Path, **flags: Any) -> ModelSpec:
    return ModelSpec.from_args(ServeArgs.model_validate({"model_name": "m3", "model_dir": model, **flags}))


def loaded(spec: ModelSpec) -> Any:
    return registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)


def assert_same(found: RowSet, wanted: Outputs, *, tolerance: float = 1e-5) -> None:
    """`found`: of one text."""
    dense, sparse, colbert = found.parts
    assert np.abs(as_dense(dense)[0] - wanted.dense).max() < tolerance
    assert np.abs(as_ragged(colbert).values - wanted.colbert).max() < tolerance
    weights = as_ragged(sparse)
    assert weights.indices is not None
    assert weights.indices.tolist() == sorted(wanted.sparse)
    assert np.abs(weights.values[:, 0] - [wanted.sparse[id_] for id_ in weights.indices]).max(initial=0) < tolerance


def test_all_outputs_equal_those_of_flag_embedding_alone_and_in_a_batch(model: Path) -> None:
    spec = spec_of(model, allow_pickle=True)
    backend = loaded(spec)
    ids = TextTokenizer(spec).encode(TEXTS)
    together = backend.embed(ids, ALL)
    for place, (text, alone) in enumerate(zip(TEXTS, ids.singles(), strict=True)):
        wanted = reference(model, text)
        assert_same(together[place : place + 1], wanted)
        assert_same(backend.embed(alone, ALL), wanted)


def test_all_outputs_are_computed_in_one_forward_pass(model: Path) -> None:
    spec = spec_of(model, allow_pickle=True)
    backend = loaded(spec)
    passes = []
    forward = backend._forward

    def counted(texts: TokenBatch) -> Any:
        passes.append(len(texts))
        return forward(texts)

    backend._forward = counted
    backend.embed(TextTokenizer(spec).encode(TEXTS), ALL)
    assert passes == [len(TEXTS)]


def test_each_output_alone_has_the_same_rows(model: Path) -> None:
    spec = spec_of(model, allow_pickle=True)
    backend = loaded(spec)
    ids = TextTokenizer(spec).encode(TEXTS)
    for part, output in zip(backend.embed(ids, ALL).parts, ALL, strict=True):
        alone = backend.embed(ids, output)
        if isinstance(alone, RaggedRows):
            assert np.array_equal(alone.lengths, part.lengths)
            assert np.array_equal(alone.values, part.values)
        else:
            assert np.array_equal(alone, part)


def test_outputs_with_less_precision_are_close(model: Path) -> None:
    spec = spec_of(model, allow_pickle=True, dtype=Dtype.BFLOAT16)
    ids = TextTokenizer(spec).encode(TEXTS[:1])
    dense, _, colbert = loaded(spec).embed(ids, ALL).parts
    wanted = reference(model, TEXTS[0])
    assert as_dense(dense)[0] @ wanted.dense > 0.99
    assert (as_ragged(colbert).values * wanted.colbert).sum(axis=1).min() > 0.99


def test_nan_is_kept_in_a_sparse_vector(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    weights = torch.load(model / "sparse_linear.pt", weights_only=True)
    weights["bias"][:] = float("nan")
    torch.save(weights, tmp_path / "sparse_linear.pt")
    spec = spec_of(tmp_path, allow_pickle=True)
    found = as_ragged(loaded(spec).embed(TextTokenizer(spec).encode(TEXTS[:1]), Output.SPARSE))
    assert np.isnan(found.values).all()
    assert len(found.values)


def test_pickles_are_not_read_without_the_flag(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "sparse_linear.pt").write_bytes(b"not a pickle")
    spec = spec_of(tmp_path)
    assert spec.outputs == ("dense",)
    assert set(loaded(spec).heads) == {Output.PER_TEXT, Output.PER_TOKEN}
    assert spec.token_heads.withheld == (
        "the model has sparse_linear.pt and colbert_linear.pt, but pickles are loaded with --allow_pickle=true only"
    )


class Harmful:
    """Unpickling it calls a function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("this runs while the pickle is loaded",))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"weight": torch.zeros(1, 7), "bias": torch.zeros(1)}, "size mismatch for weight"),
        ({"weight": torch.zeros(1, 32)}, "Missing key"),
        ([1], "Expected state_dict to be dict-like"),
        ({"weight": Harmful()}, "Weights only load failed"),
    ],
)
def test_a_file_that_is_no_linear_layer_is_refused(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: Any, problem: str
) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    torch.save(content, tmp_path / "sparse_linear.pt")
    with pytest.raises(ModelRefused, match=rf"sparse_linear.pt is not a linear layer with 32 inputs.*{problem}"):
        loaded(spec_of(tmp_path, allow_pickle=True))
    assert "this runs" not in capsys.readouterr().out


def test_one_file_gives_one_output(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "sparse_linear.pt").unlink()
    assert spec_of(tmp_path, allow_pickle=True).outputs == ("dense", "colbert")


def test_a_git_lfs_pointer_is_refused(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 3516\n"
    (tmp_path / "sparse_linear.pt").write_text(pointer)
    with pytest.raises(ModelRefused, match=r"sparse_linear.pt is a Git LFS pointer"):
        spec_of(tmp_path)


@pytest.mark.parametrize("allow_pickle", [True, False])
def test_auto_selects_the_backend_with_all_outputs_that_are_offered(
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    allow_pickle: bool,  # noqa: FBT001 a table
) -> None:
    monkeypatch.setattr("embedding_runtime.worker.backends.choice._installed", lambda: Path("vllm"))
    args = ServeArgs.model_validate({"model_name": "m3", "model_dir": model, "allow_pickle": allow_pickle})
    choice = choose(args, ModelSpec.from_args(args))
    assert choice.backend == (BackendName.HUGGINGFACE if allow_pickle else BackendName.VLLM)
    assert ("vLLM returns dense vectors only" in choice.reason) is allow_pickle


def test_the_layers_are_part_of_the_space_if_they_are_loaded(model: Path, tmp_path: Path) -> None:
    shutil.copytree(model, tmp_path, dirs_exist_ok=True)
    weights = torch.load(model / "sparse_linear.pt", weights_only=True)
    torch.save({**weights, "bias": weights["bias"] + 1}, tmp_path / "sparse_linear.pt")
    for flag, same in ((False, True), (True, False)):
        one, other = (space.digest(spec_of(where, allow_pickle=flag)) for where in (model, tmp_path))
        assert (one == other) is same
