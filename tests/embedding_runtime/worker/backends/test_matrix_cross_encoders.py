"""Cross-encoders on both real backends, in every file format, compared with CrossEncoder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.contract import BackendName, Dtype
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.worker.backends import registry, vllm_coverage
from support.asking import AskedBackend

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")
pytest.importorskip("embedding_runtime.worker.backends.huggingface")

PAIRS = [
    ("a", "b"),
    ("", "the quick brown fox"),
    ("the quick brown fox", ""),
    ("the quick brown fox", "the lazy dog"),
    ("the lazy dog", "the quick brown fox"),
    ("Upper CASE, Ünïcödé", "你好, 🙂"),
    ("jumps over", "the lazy dog " * 12),
    ("<pad> in [PAD] a text", "<pad> and after [PAD]"),
    *(("which query?", f"query {n} " * n) for n in range(1, 8)),
]
TOO_LONG = [("the quick brown fox " * 9, "dog " * 50), ("fox", "over " * 200), ("over " * 200, "fox"), ("a", "b")]

IDENTITY = "torch.nn.modules.linear.Identity"
SIGMOID = "torch.nn.modules.activation.Sigmoid"


@dataclass(frozen=True)
class Row:
    name: str
    shape: str = "bert"
    labels: int = 1
    says: tuple[tuple[str, Any], ...] = ()
    """Into config.json, by CrossEncoder before 5.4."""
    options: tuple[tuple[str, Any], ...] | None = None
    """Of CrossEncoder, when its newest release saves the model."""

    @property
    def file_format(self) -> str:
        return "new" if self.options is not None else "old" if self.says else "plain"


PROMPT = (("prompts", {"q": "query: "}), ("default_prompt_name", "q"))
SINCE_4 = (("sentence_transformers", {"activation_fn": IDENTITY, "version": "4.1.0"}),)
BEFORE_4 = (("sbert_ce_default_activation_function", IDENTITY),)

ROWS = [
    *(Row(f"{shape}-plain", shape) for shape in ("bert", "distilbert", "mpnet", "xlm-roberta", "modernbert")),
    *(Row(f"{shape}-3-labels", shape, labels=3) for shape in ("bert", "xlm-roberta", "modernbert")),
    Row("modernbert-mean", "modernbert", says=(("classifier_pooling", "mean"),)),
    Row("bert-identity-before-4", says=BEFORE_4),
    Row("bert-identity-since-4", says=SINCE_4),
    Row("bert-3-labels-sigmoid", labels=3, says=(("sentence_transformers", {"activation_fn": SIGMOID}),)),
    Row("bert-an-activation-of-their-own", says=(("sentence_transformers", {"activation_fn": "mine.Act"}),)),
    *(Row(f"{shape}-new", shape, options=()) for shape in ("bert", "xlm-roberta", "modernbert")),
    Row("bert-new-identity", options=(("activation_fn", torch.nn.Identity()),)),
    Row("bert-new-3-labels", labels=3, options=()),
    Row("bert-new-prompt", options=PROMPT),
    Row("bert-new-max-length", options=(("max_length", 20),)),
]


def a_cross_encoder(directory: Path, row: Row, shape: Any = None, **sizes: Any) -> Path:
    shape = shape or tiny.SHAPES[row.shape]
    plain: Path = tiny.a_cross_encoder(directory / "plain", shape, row.labels, dict(row.says), **sizes)
    if row.options is None:
        return plain
    saved: Path = tiny.a_saved_cross_encoder(directory / "saved", plain, **dict(row.options))
    return saved


def predicted(reference: Any, pairs: list[tuple[str, str]]) -> npt.NDArray[Any]:
    """Each pair alone, so that no padding touches it: (pairs, labels)."""
    scores = [reference.predict([pair], show_progress_bar=False) for pair in pairs]
    rows: npt.NDArray[Any] = np.concatenate(scores).reshape(len(pairs), -1)
    return rows


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_scores_equal_those_of_cross_encoder(tmp_path: Path, compared: Any, row: Row) -> None:
    model = a_cross_encoder(tmp_path, row)
    reference = tiny.CrossEncoder(str(model), device="cpu")
    spec = ModelSpec.read(model)
    assert spec.scores is not None
    assert (spec.scores.labels, spec.max_length) == (reference.num_labels, reference.max_seq_length)
    pairs = PAIRS if spec.max_length > 30 else PAIRS[:4]
    wanted = predicted(reference, pairs)
    prompt = reference.prompts.get(reference.default_prompt_name)
    counts = [reference.preprocess([pair], prompt=prompt)["input_ids"].shape[1] for pair in pairs]

    ids = TextTokenizer(spec).encode_pairs(pairs)
    assert [len(pair) for pair in ids] == counts
    backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    alone = np.concatenate([as_dense(backend.embed(pair)) for pair in ids.singles()])
    together = as_dense(backend.embed(ids))
    order = np.random.default_rng(6).permutation(len(ids))
    shuffled = np.empty_like(together)
    shuffled[order] = as_dense(backend.embed(ids.reordered(order)))
    assert len({score.tobytes() for score in wanted.round(5)}) == len(pairs)  # equal scores would show nothing
    for mates, found in (("alone", alone), ("together", together), ("shuffled", shuffled)):
        assert found.shape == wanted.shape
        compared(f"scores: {row.name}", "huggingface", row.file_format, mates, np.abs(found - wanted).max())
        assert np.abs(found - wanted).max() < 1e-5


def test_pairs_are_cut_as_cross_encoder_cuts_them(tmp_path: Path) -> None:
    model = a_cross_encoder(tmp_path, Row("", options=PROMPT))
    reference, spec = tiny.CrossEncoder(str(model), device="cpu"), ModelSpec.read(model)
    cut = TextTokenizer(spec).encode_pairs(TOO_LONG, cut_to=spec.max_length)
    for pair, ids in zip(TOO_LONG, cut.singles(), strict=True):
        found = reference.preprocess([pair], prompt="query: ")
        assert ids.types is not None
        assert ids.ids.tolist() == found["input_ids"][0].tolist()
        assert (ids.types > 0).tolist() == found["token_type_ids"][0].bool().tolist()
    assert (
        np.abs(
            registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).embed(cut) - predicted(reference, TOO_LONG)
        ).max()
        < 1e-5
    )


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_smaller_types_stay_close(tmp_path: Path, dtype: str) -> None:
    model = a_cross_encoder(tmp_path, Row("", labels=3))
    reference = tiny.CrossEncoder(str(model), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    spec = ModelSpec.read(model).limited(max_length=None, dtype=Dtype(dtype))
    found = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).embed(
        TextTokenizer(spec).encode_pairs(PAIRS)
    )
    assert np.abs(found - predicted(reference, PAIRS)).max() < 0.02


@pytest.mark.parametrize("shape", ["bert", "xlm-roberta", "mpnet", "distilbert", "modernbert"])
def test_pairs_use_the_fastest_forward_that_keeps_their_scores(tmp_path: Path, shape: str) -> None:
    spec = ModelSpec.read(a_cross_encoder(tmp_path, Row("", shape)))
    assert registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).detail.endswith(
        f"in float32, {tiny.WAYS[shape]} batches"
    )


def test_a_missing_head_is_refused_and_not_initialized_randomly(tmp_path: Path) -> None:
    tiny.a_transformer(tmp_path, tiny.SHAPES["bert"])
    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace("BertModel", "BertForSequenceClassification"))
    with pytest.raises(ModelRefused, match=r"lack .*classifier"):
        registry.load(BackendName.HUGGINGFACE, ModelSpec.read(tmp_path), allow_pickle=False)


def test_an_unsupported_head_is_refused_by_name(tmp_path: Path) -> None:
    roberta = tiny.SHAPES["roberta"]  # the head of Longformer decides to which tokens all others attend
    shape = replace(roberta, kind="longformer", sizes={**roberta.sizes, "attention_window": [8, 8]})
    spec = ModelSpec.read(a_cross_encoder(tmp_path, Row("", "longformer"), shape))
    with pytest.raises(ModelRefused, match=r"Longformer\w+ in .* has a head that is not supported"):
        registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)


VLLM_ROWS = [
    Row("bert-new-prompt", options=PROMPT),
    Row("bert-3-labels", labels=3, says=SINCE_4),
    Row("roberta-plain", "roberta"),
    Row("xlm-roberta-plain", "xlm-roberta"),
]
PROVEN = Row("bert-relu-proven")
"""Not covered by those: its scores are compared with transformers' own at start."""
VLLM_PAIRS = [pair for pair in PAIRS if "<pad>" not in pair[0]]  # as in test_matrix


def a_vllm_model(directory: Path, row: Row) -> Path:
    sizes = {"hidden_size": 128, **({"hidden_act": "relu"} if row is PROVEN else {})}
    return a_cross_encoder(directory, row, **sizes)


def test_vllm_needs_no_self_test_exactly_for_the_matrix(tmp_path: Path) -> None:
    specs = [ModelSpec.read(a_vllm_model(tmp_path / row.name, row)) for row in VLLM_ROWS]
    covered = {case for case in vllm_coverage.COVERED if not case.pooling}
    assert {vllm_coverage.case_of(spec) for spec in specs} == covered
    assert [vllm_coverage.reason_for_self_test(spec) for spec in specs] == [None] * len(specs)


@pytest.mark.model
@pytest.mark.parametrize("row", [*VLLM_ROWS, PROVEN], ids=lambda row: row.name)
def test_vllms_scores_equal_those_of_cross_encoder(vllm: AskedBackend, tmp_path: Path, compared: Any, row: Row) -> None:
    model = a_vllm_model(tmp_path, row)
    wanted = predicted(tiny.CrossEncoder(str(model), device="cpu"), VLLM_PAIRS)
    answer = vllm.ask(model, VLLM_PAIRS)
    assert "refused" not in answer, answer
    for mates in ("alone", "together"):
        off = np.abs(np.array(answer[mates]) - wanted).max()
        compared(f"scores: {row.name}", "vllm", row.file_format, mates, off)
        assert off < 1e-5
