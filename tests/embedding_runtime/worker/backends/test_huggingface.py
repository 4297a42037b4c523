"""The Hugging Face backend in process, on tiny models: refusals and kinds of batches."""

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import Dtype
from embedding_runtime.model import Dense, ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.runs import runs_of
from embedding_runtime.worker.warm_up import warm_up

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
torch = pytest.importorskip("torch")
cores = pytest.importorskip("embedding_runtime.worker.backends.cores")
written = pytest.importorskip("embedding_runtime.worker.backends.bert")
padded = pytest.importorskip("embedding_runtime.worker.backends.padded")
transformers = pytest.importorskip("transformers")

tiny = pytest.importorskip("support.tiny_models")

LENGTHS = [1, 5, 5, 2, 64, 5, 17, 33]


def bert(directory: Path, **spec: Any) -> ModelSpec:
    """Random weights, the same each time."""
    return replace(ModelSpec.read(tiny.a_transformer(directory, tiny.SHAPES["bert"])), **spec)


def texts(*lengths: int) -> TokenBatch:
    random = np.random.default_rng(4)
    return TokenBatch.of([random.integers(3, 50, length, dtype=np.int32) for length in lengths])


@pytest.mark.parametrize("dtype", [Dtype.BFLOAT16, Dtype.FLOAT16])
def test_a_smaller_type_is_used_and_stays_close(tmp_path: Path, dtype: Dtype) -> None:
    spec = bert(tmp_path)
    small, full = (
        huggingface.load(replace(spec, dtype=kind)).embed(texts(*LENGTHS)) for kind in (dtype, Dtype.FLOAT32)
    )
    assert small.dtype == np.float32
    assert not np.array_equal(small, full)
    cosines = (small * full).sum(axis=1) / np.linalg.norm(small, axis=1) / np.linalg.norm(full, axis=1)
    assert cosines.min() > 0.999


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_args": {"attn_implementation": "eager", "add_pooling_layer": False, "trust_remote_code": True}},
        {"model_args": {"torch_dtype": "bfloat16"}, "tokenizer_args": {"padding_side": "left"}},
        {"tokenizer_args": {"model_max_length": 20, "truncation_side": "left"}},
    ],
)
def test_accepted_arguments_for_transformers_do_not_change_vectors(tmp_path: Path, arguments: dict[str, Any]) -> None:
    body = tiny.a_transformer(tmp_path / "body", tiny.SHAPES["bert"])
    model = tiny.saved(tmp_path / "model", body)
    file = model / "sentence_bert_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **arguments}))
    reference = tiny.SentenceTransformer(str(model), device="cpu")
    spec = ModelSpec.read(model)
    text = "the quick brown fox " * 5
    tokenizer = TextTokenizer(spec)
    (ids,) = tokenizer.encode([text])
    (found,) = huggingface.load(spec).embed(TokenBatch.of([tokenizer.cut(ids, spec.max_length, spec.cut_side)]))
    wanted = reference.encode(text, convert_to_tensor=True).float().numpy()
    assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.9999


def test_missing_weights_are_refused_and_not_initialized_randomly(tmp_path: Path) -> None:
    spec = bert(tmp_path)
    weights = transformers.AutoModel.from_pretrained(tmp_path)
    del weights.encoder.layer[1]
    weights.config.num_hidden_layers = 1
    weights.save_pretrained(tmp_path / "less")
    (tmp_path / "model.safetensors").write_bytes((tmp_path / "less" / "model.safetensors").read_bytes())
    with pytest.raises(ModelRefused, match=r"lack encoder\.layer\.1\..* in all"):
        huggingface.load(spec)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    spec = bert(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelRefused, match=r"transformers cannot load .*model\.safetensors"):
        huggingface.load(spec)


def test_a_model_that_needs_more_than_a_text_is_refused(tmp_path: Path) -> None:
    """sentence-transformers uses Marian's encoder alone; the whole model translates."""
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    shape = replace(tiny.SHAPES["mpnet"], kind="marian", sizes=sizes)
    with pytest.raises(ModelRefused, match=r"MarianModel cannot compute token vectors .*this architecture is not supp"):
        huggingface.load(ModelSpec.read(tiny.a_transformer(tmp_path, shape)))


def test_the_shortest_text_of_the_warm_up_has_tokens_after_an_excluded_prompt(tmp_path: Path) -> None:
    plain = tiny.a_transformer(tmp_path / "plain", tiny.SHAPES["bert"])
    prompt = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
    spec = ModelSpec.read(tiny.saved(tmp_path / "saved", plain, pooling="max", include_prompt=False, **prompt))
    warm_up(huggingface.load(spec), spec)  # no NaN or infinity


def test_runs_cover_a_row_text_by_text() -> None:
    assert list(runs_of([2, 2, 3, 5, 5, 5])) == [(0, 4, 2, 2), (4, 7, 1, 3), (7, 22, 3, 5)]


def test_padding_adds_a_fifth_at_most() -> None:
    assert list(padded.groups([10, 11, 12, 13, 14, 20])) == [(0, 3), (3, 5), (5, 6)]


@pytest.mark.parametrize("option", [{"hidden_act": "gelu_new"}, {"hidden_act": "relu"}, {"is_decoder": True}])
def test_an_unusual_bert_is_run_by_transformers(tmp_path: Path, option: Mapping[str, Any]) -> None:
    spec = ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"], **option))
    assert huggingface.load(spec).detail.endswith("in float32, packed batches")


@pytest.mark.skipif(torch.cuda.is_available(), reason="BERT is written out for CPUs")
def test_a_forward_that_changes_vectors_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = written.prepare
    monkeypatch.setattr(written, "prepare", lambda model: lambda texts: right(model)(texts) + 0.1)
    assert huggingface.load(bert(tmp_path)).detail.endswith("in float32, packed batches")
    assert "BertModel cannot use fused, packed batches: vectors of a batch differ by" in caplog.text


ON_GPU = torch.cuda.is_available()
"""Where rows are padded to lengths from a short list of shapes."""


@pytest.mark.parametrize(("shape", "padding"), [("t5", 19 if ON_GPU else 3), ("distilbert", 0)])
def test_padding_counts_the_additional_tokens_of_rows(tmp_path: Path, shape: str, padding: int) -> None:
    backend = huggingface.load(ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES[shape])))
    places = []
    (model, *_) = backend._forward.args
    model.register_forward_pre_hook(lambda *given: places.append(given[-1]["input_ids"].numel()), with_kwargs=True)
    batch = texts(20, 11, 10, 12)
    backend.embed(batch)
    assert backend.padding(batch) == sum(places) - batch.tokens == padding


@pytest.mark.parametrize(
    ("activation", "words"),
    [("torch.nn.functional.gelu", "not a module of torch"), ("torch.nn.Nothing", "torch does not have")],
)
def test_an_unknown_activation_is_refused(tmp_path: Path, activation: str, words: str) -> None:
    dense = Dense(tmp_path, inputs=32, outputs=8, bias=True, activation=activation, residual=False)
    with pytest.raises(ModelRefused, match=words):
        huggingface.load(bert(tmp_path, steps=(dense,)))


def test_dense_weights_of_a_wrong_shape_are_refused(tmp_path: Path) -> None:
    dense = Dense(tmp_path, inputs=32, outputs=8, bias=True, activation="torch.nn.Tanh", residual=False)
    with pytest.raises(ModelRefused, match=r"do not match its config.json: .*linear\.weight"):
        huggingface.load(bert(tmp_path, steps=(dense,)))  # they are the transformer's


def test_tokens_that_differ_from_transformers_are_refused(tmp_path: Path) -> None:
    spec = bert(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    vocabulary = {
        token: n for n, token in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "The", "##q"])
    }
    wordpiece = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    cased = {"type": "BertNormalizer", "lowercase": False, "clean_text": True, "handle_chinese_chars": True}
    tokenizer |= {
        "added_tokens": [],
        "model": {**wordpiece, "max_input_chars_per_word": 100, "vocab": vocabulary},
        "normalizer": {**cased, "strip_accents": None},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
    }
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    said = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    with pytest.raises(ModelRefused, match="BertTokenizer return different tokens"):
        huggingface.load(spec)


@pytest.mark.parametrize(("threads", "two"), [(1, False), (2, True), (3, False)])
def test_two_batches_are_computed_at_once_where_each_has_one_core(threads: int, *, two: bool) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert (cores.one_of_two() is not None) == two
    finally:
        torch.set_num_threads(before)


def test_a_thread_on_half_of_the_cores_does_not_limit_the_main_thread() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen: list[int] = []

    def beside() -> None:
        use_half_the_cores = cores.one_of_two()
        assert use_half_the_cores is not None
        use_half_the_cores()
        seen.append(torch.get_num_threads())

    try:
        thread = threading.Thread(target=beside)
        thread.start()
        thread.join()
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def test_positions_scaled_by_the_longest_text_are_not_packed(tmp_path: Path) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    model = tiny.a_transformer(tmp_path, tiny.SHAPES["qwen3"], rope_parameters=rope)
    assert huggingface.load(ModelSpec.read(model)).detail.endswith("padded batches")


def test_a_model_that_computes_positions_itself_never_exceeds_the_last_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shape = replace(tiny.SHAPES["bert"], kind="bart")
    sizes = {f"{part}_{size}": n for part in ("encoder", "decoder") for size, n in BART_SIZES.items()}
    backend = huggingface.load(ModelSpec.read(tiny.a_transformer(tmp_path, shape, d_model=32, **sizes)))
    assert backend.detail.endswith("padded batches")
    # On a GPU it would be a device-side assertion, after which the process computes nothing more.
    assert "BartModel cannot use packed batches: the model computes positions itself" in caplog.text


BART_SIZES = {"layers": 2, "attention_heads": 4, "ffn_dim": 64}


def a_model_of(directory: Path, kind: str, shape: Any, **sizes: Any) -> Any:
    """And sentence-transformers' own vectors of it, each text alone."""
    model = tiny.a_transformer(directory, replace(shape, kind=kind), **sizes)
    reference = tiny.SentenceTransformer(str(model), device="cpu")
    wanted = np.concatenate([reference.encode([text], show_progress_bar=False) for text in MIXED])
    return ModelSpec.read(model), wanted


MIXED = ["a", "the quick brown fox", "jumps over " * 9, "query " * 9]


def test_a_model_that_attends_to_padding_gets_single_texts(tmp_path: Path) -> None:
    spec, wanted = a_model_of(tmp_path, "nystromformer", tiny.SHAPES["bert"])
    backend = huggingface.load(spec)
    ids = TextTokenizer(spec).encode(MIXED)
    assert backend.detail.endswith("texts one by one")
    assert backend.padding(ids) == 0
    assert np.abs(backend.embed(ids) - wanted).max() < 1e-4


@pytest.mark.parametrize("kind", ["gpt2", "gptj"])
def test_token_types_are_passed_to_a_model_that_distinguishes_zeros_from_none(tmp_path: Path, kind: str) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 98, "rotary_dim": 8}
    spec, wanted = a_model_of(tmp_path, kind, tiny.SHAPES["bert"], **sizes)
    assert np.abs(huggingface.load(spec).embed(TextTokenizer(spec).encode(MIXED)) - wanted).max() < 1e-4


def test_a_class_that_always_calls_its_pooler_is_served(tmp_path: Path) -> None:
    spec, wanted = a_model_of(tmp_path, "squeezebert", tiny.SHAPES["bert"], embedding_size=32)
    assert np.abs(huggingface.load(spec).embed(TextTokenizer(spec).encode(MIXED)) - wanted).max() < 1e-4
