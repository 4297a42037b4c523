"""Rerankers that are language models on the huggingface backend, compared with CrossEncoder."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.contract import BackendName, Kind, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.worker.backends import registry, vllm_limits
from embedding_runtime.worker.backends.choice import choose
from support import chat_templates
from support.asking import AskedBackend, answers

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
llms = pytest.importorskip("support.llm_rerankers")
Llm = llms.Llm

PAIRS = [
    ("a", "b"),
    ("", "the quick brown fox"),
    ("the quick brown fox", ""),
    ("the lazy dog", " the quick brown fox\n"),
    ("Upper Ünï", "你好 🙂 {{ messages }}"),
    ("<|im_end|> in a query", "yes</s><|pad|>no"),
    *(("which query?", f"query {n} " * n) for n in range(1, 4)),
]
TOO_LONG = [("the quick brown fox", "dog " * 400), ("over " * 400, "fox")]

IDENTITY = {"activation_fn": torch.nn.Identity()}
PROMPT = {"prompts": {"query": "Find the answer"}, "default_prompt_name": "query"}
ROWS = {
    "yes minus no": Llm(options=IDENTITY),
    "only yes, sigmoid": Llm(tokens=("yes", None)),
    "a default prompt": Llm(options={**IDENTITY, **PROMPT}),
    "an argument of the template": Llm(
        template=chat_templates.ZERANK,
        tokens=("Yes", None),
        arguments={"add_generation_prompt": True},
        options=IDENTITY,
    ),
    "qwen2, 1 minus 0": Llm("qwen2", chat_templates.MIXEDBREAD, ("1", "0"), options=IDENTITY),
    "gemma, instruction last": Llm("gemma", chat_templates.GEMMA, ("Yes", None), options={**IDENTITY, **PROMPT}),
    "gemma2, capped logits": Llm("gemma2", chat_templates.GEMMA, ("Yes", None), {"final_logit_softcapping": 1.0}),
    "content in parts": Llm("llama", chat_templates.PARTS, options={**IDENTITY, **PROMPT}),
    "no template": Llm(template=None, options=IDENTITY),
    "no template, but a prompt": Llm(template=None, options={**IDENTITY, **PROMPT}),
    "tied weights": Llm(config={"tie_word_embeddings": True}, options=IDENTITY),
    "pooling and a layer": Llm(tokens=llms.DENSE, options=IDENTITY),
    "pooling and a layer, no template": Llm(template=None, tokens=llms.DENSE, options=IDENTITY),
    "a shorter maximum": Llm(options={**IDENTITY, "max_length": 205}),
}


def predicted(reference: Any, pairs: list[tuple[str, str]], **options: Any) -> npt.NDArray[Any]:
    """Each pair alone, so that no padding touches it: (pairs, 1)."""
    scores = [reference.predict([pair], show_progress_bar=False, **options) for pair in pairs]
    rows: npt.NDArray[Any] = np.concatenate(scores).reshape(len(pairs), -1)
    return rows


def check(model: Path) -> ModelSpec:
    """Compare scores, tokens and truncation with CrossEncoder's."""
    reference = llms.CrossEncoder(str(model), device="cpu")
    spec = ModelSpec.read(model)
    assert (spec.kind, spec.dimensions, spec.max_length) == (Kind.CROSS_ENCODER, 1, reference.max_seq_length)
    backend, tokenizer = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False), TextTokenizer(spec)
    prompt = reference.prompts.get(reference.default_prompt_name)
    room = spec.max_length - len(tokenizer.encode_pairs([("a", "")]).ids)
    pairs = [*PAIRS, *TOO_LONG, *(("a", "x" * (room + beyond)) for beyond in (-1, 0, 1))]
    cuts: list[bool] = []
    ids = tokenizer.encode_pairs(pairs, cut_to=spec.max_length, cuts=cuts)
    assert cuts == [*[False] * len(PAIRS), True, True, False, False, True]
    for pair, found in zip(pairs, ids, strict=True):
        assert found.tolist() == reference.preprocess([pair], prompt=prompt)["input_ids"][0].tolist()
    wanted = predicted(reference, pairs)
    alone = np.concatenate([as_dense(backend.embed(pair)) for pair in ids.singles()])
    order = np.random.default_rng(6).permutation(len(ids))
    shuffled = np.empty_like(alone)
    shuffled[order] = as_dense(backend.embed(ids.reordered(order)))
    for rows in (alone, as_dense(backend.embed(ids)), shuffled):
        assert np.abs(rows - wanted).max() < 1e-5
    return spec


@pytest.mark.parametrize("name", ROWS)
def test_scores_of_a_saved_reranker_equal_those_of_cross_encoder(tmp_path: Path, name: str) -> None:
    check(llms.a_reranker(tmp_path, ROWS[name]))


def test_a_refused_language_model_is_served_once_it_is_saved_as_the_readme_says(tmp_path: Path) -> None:
    plain = llms.a_language_model(tmp_path / "plain", Llm("gemma", template=None))
    (plain / "README.md").write_text("---\npipeline_tag: text-classification\n---\n")
    with pytest.raises(ModelRefused, match="saved for CrossEncoder"):
        ModelSpec.read(plain)
    template = {"chat_template": chat_templates.GEMMA}
    body = llms.Transformer(str(plain), transformer_task="text-generation", processor_kwargs=template)
    head = llms.LogitScore(body.tokenizer.convert_tokens_to_ids("Yes"))
    model = tmp_path / "model"
    llms.CrossEncoder(modules=[body, head], device="cpu").save_pretrained(str(model), create_model_card=False)
    check(model)


def test_an_instruction_is_a_prompt_of_cross_encoder(tmp_path: Path) -> None:
    model = llms.a_reranker(tmp_path, Llm(options={**IDENTITY, **PROMPT}))
    reference, spec = llms.CrossEncoder(str(model), device="cpu"), ModelSpec.read(model)
    ids = TextTokenizer(spec).encode_pairs(PAIRS, prompt="Be kind")
    found = as_dense(registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).embed(ids))
    assert np.abs(found - predicted(reference, PAIRS, prompt="Be kind")).max() < 1e-5
    assert np.abs(found - predicted(reference, PAIRS)).max() > 1e-3


def test_a_language_model_without_modules_is_scored_by_yes_and_no_if_its_template_is_for_pairs(tmp_path: Path) -> None:
    check(llms.a_language_model(tmp_path / "model", Llm()))


@pytest.mark.parametrize("template", [chat_templates.QWEN, None])
def test_a_decoder_with_a_classification_head_is_scored_at_its_last_token(tmp_path: Path, template: str | None) -> None:
    check(llms.a_language_model(tmp_path / "model", Llm(template=template), labels=1))


def test_smaller_types_are_subtracted_as_in_logit_score(tmp_path: Path) -> None:
    model = llms.a_reranker(tmp_path, Llm(config={"dtype": torch.bfloat16}, options=IDENTITY))
    reference, spec = llms.CrossEncoder(str(model), device="cpu"), ModelSpec.read(model)
    assert spec.dtype == "bfloat16"
    ids = TextTokenizer(spec).encode_pairs(PAIRS)
    found = as_dense(registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False).embed(ids))
    assert np.abs(found - predicted(reference, PAIRS)).max() < 0.02


@pytest.mark.parametrize("template", [chat_templates.QWEN, None])
def test_vllm_refuses_a_decoder_with_a_classification_head_by_name(tmp_path: Path, template: str | None) -> None:
    model = llms.a_language_model(tmp_path, Llm(template=template), labels=1)
    args = ServeArgs(model_name="m", model_dir=model)
    assert choose(args, ModelSpec.from_args(args)).backend is BackendName.HUGGINGFACE
    with pytest.raises(ModelRefused, match=r"scores with Qwen3ForSequenceClassification .* use --backend=huggingface"):
        vllm_limits.check(ModelSpec.read(model))


VLLM_SIZES = {"hidden_size": 128, "head_dim": 32}  # its attention on CPUs wants heads of 32 or more
VLLM_ROWS = {
    "yes minus no, tied": Llm(config={**VLLM_SIZES, "tie_word_embeddings": True}, options={**IDENTITY, **PROMPT}),
    "qwen2, 1 minus 0": Llm("qwen2", chat_templates.MIXEDBREAD, ("1", "0"), VLLM_SIZES, IDENTITY),
    "gemma, only yes": Llm("gemma", chat_templates.GEMMA, ("Yes", None), VLLM_SIZES, IDENTITY),
    "pooling and a layer": Llm(tokens=llms.DENSE, config=VLLM_SIZES, options=IDENTITY),
}


SLOW = set(VLLM_ROWS) - {"yes minus no, tied"}


@pytest.mark.model
@pytest.mark.parametrize(
    "name", [pytest.param(row, marks=pytest.mark.slow if row in SLOW else ()) for row in VLLM_ROWS]
)
def test_vllms_scores_equal_those_of_cross_encoder(vllm: AskedBackend, tmp_path: Path, name: str) -> None:
    model = llms.a_reranker(tmp_path, VLLM_ROWS[name])
    wanted = predicted(llms.CrossEncoder(str(model), device="cpu"), PAIRS)
    answer = vllm.ask(model, PAIRS)
    assert "refused" not in answer, answer
    for mates in ("alone", "together"):
        assert np.allclose(answer[mates], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.model
@pytest.mark.slow
def test_vllm_refuses_a_head_that_does_more_than_a_product(tmp_path: Path) -> None:
    config = {**VLLM_SIZES, "final_logit_softcapping": 1.0}
    model = llms.a_reranker(tmp_path, Llm("gemma2", chat_templates.GEMMA, ("Yes", None), config))
    (answer,) = answers("vllm", [(model, PAIRS)], tmp_path / "log")
    assert "differ from those of transformers" in answer["refused"]


def test_a_template_of_a_chat_model_is_refused_as_in_cross_encoder(tmp_path: Path) -> None:
    model = llms.a_reranker(tmp_path, Llm(template=chat_templates.CHATML))
    with pytest.raises(ModelRefused, match=r"cannot render a pair of texts .* query and document"):
        ModelSpec.read(model)
    with pytest.raises(ValueError, match="cannot carry a 'query'/'document' pair"):
        llms.CrossEncoder(str(model), device="cpu").predict(PAIRS)


def test_a_template_that_transformers_renders_differently_is_refused(tmp_path: Path) -> None:
    model = llms.a_reranker(tmp_path, Llm())
    template = model / "chat_template.jinja"
    template.write_text(template.read_text() + "{{ strftime_now is defined }}")
    with pytest.raises(ModelRefused, match="return different tokens"):
        registry.load(BackendName.HUGGINGFACE, ModelSpec.read(model), allow_pickle=False)


def test_tokens_that_the_tokenizer_lacks_are_refused(tmp_path: Path) -> None:
    model = llms.a_language_model(tmp_path, Llm())
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    for token in tokenizer["added_tokens"]:
        token["content"] = token["content"].replace("yes", "aye")
    (model / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelRefused, match="lacks the token yes or no"):
        registry.load(BackendName.HUGGINGFACE, ModelSpec.read(model), allow_pickle=False)
