"""Files of cross-encoders, read as `CrossEncoder` does."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import BackendName, Kind, ServeArgs, Task
from embedding_runtime.contract.initializer import MODEL_NOTE
from embedding_runtime.model import ModelRefused, ModelSpec, Scores, ScoreTokens, space
from support.models import a_model

BERT = "BertForSequenceClassification"
SIGMOID = "torch.nn.modules.activation.Sigmoid"
IDENTITY = "torch.nn.modules.linear.Identity"
ONE = {"architectures": [BERT], "id2label": {"0": "LABEL_0"}}
BEFORE_4 = "sbert_ce_default_activation_function"
SAVED = {
    "transformer_task": "sequence-classification",
    "modality_config": {"text": {"method": "forward", "method_output_name": "logits"}},
    "module_output_name": "scores",
}


def plain(directory: Path, *, config: dict[str, Any], **says: Any) -> Path:
    """As any program saves a transformers model, and as CrossEncoder did before 5.4."""
    model = a_model(directory, config={**ONE, **config}, **says)
    (model / "modules.json").unlink()
    return model


def saved(directory: Path, *, defaults: dict[str, Any], **says: Any) -> Path:
    """As CrossEncoder does it since."""
    given = {"modules": ["Transformer"], "transformer": SAVED, "config": ONE, **says}
    return a_model(directory, defaults={"model_type": "CrossEncoder", **defaults}, **given)


@pytest.mark.parametrize(
    ("config", "labels", "activation"),
    [
        ({}, 1, SIGMOID),
        ({"id2label": {"0": "no", "1": "yes", "2": "maybe"}}, 3, IDENTITY),
        ({"id2label": None}, 2, IDENTITY),
        ({"id2label": None, "num_labels": 1}, 1, SIGMOID),
        ({BEFORE_4: IDENTITY}, 1, IDENTITY),
        ({"sentence_transformers": {"activation_fn": IDENTITY, "version": "4.0.1"}}, 1, IDENTITY),
        (
            {"sentence_transformers": {"version": "4.0.1"}, BEFORE_4: IDENTITY},
            1,
            IDENTITY,
        ),
        (
            {"sentence_transformers": {"activation_fn": None}, BEFORE_4: IDENTITY},
            1,
            SIGMOID,
        ),
    ],
)
def test_config_json_defines_the_score(tmp_path: Path, config: dict[str, Any], labels: int, activation: str) -> None:
    spec = ModelSpec.read(plain(tmp_path, config=config))
    assert spec.scores == Scores(labels, activation, BERT)
    assert (spec.kind, spec.dimensions, spec.pooling, spec.steps) == (Kind.CROSS_ENCODER, labels, (), ())


@pytest.mark.parametrize(
    ("defaults", "config", "activation"),
    [
        ({"activation_fn": IDENTITY}, {}, IDENTITY),
        ({"activation_fn": SIGMOID}, {BEFORE_4: IDENTITY}, SIGMOID),
        ({}, {BEFORE_4: IDENTITY}, IDENTITY),
        ({"activation_fn": None}, {}, SIGMOID),
    ],
)
def test_config_sentence_transformers_json_takes_precedence(
    tmp_path: Path, defaults: dict[str, Any], config: dict[str, Any], activation: str
) -> None:
    spec = ModelSpec.read(saved(tmp_path, defaults=defaults, config={**ONE, **config}))
    assert spec.scores == Scores(1, activation, BERT)


def test_the_revision_comes_from_the_initializers_note(tmp_path: Path) -> None:
    for model in (plain(tmp_path / "plain", config={}), saved(tmp_path / "saved", defaults={})):
        (model / MODEL_NOTE).write_text('{"revision": "c0ffee"}')
        assert ModelSpec.read(model).revision == "c0ffee"


def test_an_activation_outside_of_torch_is_ignored_and_reported(tmp_path: Path) -> None:
    spec = ModelSpec.read(plain(tmp_path, config={BEFORE_4: "their_code.Act"}))
    assert spec.scores == Scores(1, SIGMOID, BERT)
    assert spec.assumed == (f"activation {SIGMOID}: the files have their_code.Act, which is not a class of torch",)


def test_only_a_saved_cross_encoder_has_a_prompt_and_a_length_of_sentence_transformers(tmp_path: Path) -> None:
    defaults = {"prompts": {"q": "query: "}, "default_prompt_name": "q"}
    length = {**SAVED, "max_seq_length": 20}
    spec = ModelSpec.read(saved(tmp_path / "saved", defaults=defaults, transformer=length))
    assert (spec.prompt, spec.max_length) == ("query: ", 20)
    spec = ModelSpec.read(plain(tmp_path / "plain", config={}, defaults=defaults, transformer=length))
    assert (spec.prompt, spec.max_length) == ("", 128)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"modules": ["Transformer", "LogitScore"]}, "LogitScore, but a cross-encoder must have one Transformer"),
        ({"modules": ["Transformer", "Pooling", "Normalize"]}, "Normalize, but a cross-encoder must have one Transf"),
        ({"transformer": {**SAVED, "transformer_task": "text-generation"}}, "sets transformer_task"),
        ({"transformer": {}}, "sets transformer_task"),
        ({"config": {"architectures": ["BertModel"]}}, r"BertModel, but of cross-encoders only \.\.\.ForSequence"),
        ({"config": {**ONE, "id2label": {}}}, "has 0 labels"),
        ({"defaults": {"keep_in_fp32_modules": ["0.model.classifier"]}}, "keep_in_fp32_modules"),
    ],
)
def test_unsupported_models_are_refused_by_name(tmp_path: Path, says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=words):
        ModelSpec.read(saved(tmp_path, **{"defaults": {}, **says}))


def test_a_chat_template_that_leaves_out_a_text_is_refused(tmp_path: Path) -> None:
    template = "{% for each in messages if each.role != 'query' %}{{ each.content }}{% endfor %}"
    with pytest.raises(ModelRefused, match="leaves out the message of the role query"):
        ModelSpec.read(plain(tmp_path, config={}, tokenizer={"chat_template": template}))


@pytest.mark.parametrize(
    ("backend", "task", "right"),
    [
        (BackendName.VLLM, Task.EMBED, "score"),
        (BackendName.FAKE, Task.EMBED, "score"),
        (BackendName.HUGGINGFACE, Task.TEXT_EMBEDDING, "text_ranking"),
    ],
)
def test_a_task_that_contradicts_the_files_is_refused_and_the_right_one_named(
    tmp_path: Path, backend: BackendName, task: Task, right: str
) -> None:
    args = {"model_name": "a", "model_dir": str(plain(tmp_path, config={})), "backend": backend}
    with pytest.raises(ModelRefused, match=rf"--task={task} .* is a cross-encoder: use --task={right}, or remove"):
        ModelSpec.from_args(ServeArgs.model_validate({**args, "task": task}))
    for agreed in (None, right):
        assert ModelSpec.from_args(ServeArgs.model_validate({**args, "task": agreed})).kind is Kind.CROSS_ENCODER


def test_an_embedding_model_refuses_the_task_score(tmp_path: Path) -> None:
    args = ServeArgs.model_validate({"model_name": "a", "model_dir": str(a_model(tmp_path)), "task": Task.SCORE})
    with pytest.raises(ModelRefused, match=r"is an embedding model: use --task=embed"):
        ModelSpec.from_args(args)


QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3"}
LOGITS = {"method": "forward", "method_output_name": "logits"}
CAUSAL = {
    "transformer_task": "text-generation",
    "modality_config": {"text": LOGITS, "message": {**LOGITS, "format": "flat"}},
    "module_output_name": "causal_logits",
}
TEMPLATE = (
    "{% for message in messages if message.role == 'system' %}{{ message.content }}{% endfor %}"
    "{{ (messages | selectattr('role', 'eq', 'query') | first).content }}"
    "{{ (messages | selectattr('role', 'eq', 'document') | first).content }}{{ eos_token }}"
    "{{ 'answer:' if add_generation_prompt }}"
)


def reranker(directory: Path, *, logit_score: dict[str, Any] | None = None, **says: Any) -> Path:
    """As CrossEncoder saves a language model."""
    kinds = {"LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore"}
    tokenizer = {"chat_template": TEMPLATE, "eos_token": {"content": "<end>"}}
    given = {"config": QWEN3, "transformer": CAUSAL, "tokenizer": tokenizer, "types": kinds, "defaults": {}, **says}
    model = saved(directory, modules=["Transformer", "LogitScore"], **given)
    (model / "1_LogitScore").mkdir()
    content = {"true_token_id": 9693, "false_token_id": 2152, "module_input_name": "causal_logits"}
    (model / "1_LogitScore" / "config.json").write_text(json.dumps({**content, **(logit_score or {})}))
    return model


def test_a_language_model_with_logit_score_has_tokens_and_a_chat_template(tmp_path: Path) -> None:
    spec = ModelSpec.read(reranker(tmp_path))
    assert spec.scores == Scores(1, SIGMOID, "Qwen3ForCausalLM", tokens=ScoreTokens(9693, 2152))
    assert (spec.kind, spec.dimensions) == (Kind.CROSS_ENCODER, 1)
    assert spec.chat is not None
    assert spec.chat.takes_instruction
    assert spec.chat.render("q", "d", "i") == "iqd<end>"


def test_arguments_of_the_chat_template_are_applied(tmp_path: Path) -> None:
    arguments = {"add_generation_prompt": True, "restore_suffix": False}
    spec = ModelSpec.read(reranker(tmp_path, transformer={**CAUSAL, "processing_kwargs": {"chat_template": arguments}}))
    assert spec.chat is not None
    assert spec.chat.render("q", "d") == "qd<end>answer:"
    assert not spec.chat.restores_suffix


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"logit_score": {"true_token_id": None}}, "has true_token_id None, which must be a token id below 30522"),
        ({"logit_score": {"false_token_id": 30522}}, "has false_token_id 30522"),
        ({"logit_score": {"module_input_name": "logits"}}, "has module_input_name 'logits'"),
        ({"config": ONE}, r"of cross-encoders with LogitScore only \.\.\.ForCausalLM is supported"),
        ({"transformer": SAVED}, "sets transformer_task"),
        ({"transformer": {**CAUSAL, "processing_kwargs": {"text": {"max_length": 9}}}}, "sets processing_kwargs"),
        (
            {"transformer": {**CAUSAL, "processing_kwargs": {"chat_template": {"tools": []}}}},
            "sets tools in processing_kwargs.chat_template",
        ),
        ({"tokenizer": {}}, "has no chat template, but its files require one"),
        ({"tokenizer": {"chat_template": [{"name": "default", "template": TEMPLATE}]}}, "several chat templates"),
        ({"tokenizer": {"chat_template": "{{ messages"}}, "chat template is not valid"),
        ({"tokenizer": {"chat_template": "{{ raise_exception('no user') }}"}}, "fails with TemplateError: no user"),
        ({"tokenizer": {"chat_template": "{{ messages[0].content + 1 }}"}}, "fails with TypeError"),
        ({"tokenizer": {"chat_template": "{{ messages[0].content }}"}}, "leaves out the message of the role document"),
        (
            {
                "tokenizer": {"chat_template": TEMPLATE.replace("message.content", "raise_exception('no system')")},
                "defaults": {"prompts": {"q": "Find it"}, "default_prompt_name": "q"},
            },
            "fails with TemplateError: no system",
        ),
    ],
)
def test_unsupported_rerankers_are_refused_by_name(tmp_path: Path, says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=words):
        ModelSpec.read(reranker(tmp_path, **says))


def test_a_template_cannot_leave_its_sandbox(tmp_path: Path) -> None:
    escape = "{{ messages.__class__.__base__.__subclasses__() }}"
    with pytest.raises(ModelRefused, match="fails with SecurityError"):
        ModelSpec.read(reranker(tmp_path, tokenizer={"chat_template": escape}))


def test_a_plain_language_model_with_a_template_for_pairs_is_a_reranker(tmp_path: Path) -> None:
    spec = ModelSpec.read(plain(tmp_path, config=QWEN3, tokenizer={"chat_template": TEMPLATE}))
    assert spec.scores == Scores(1, SIGMOID, "Qwen3ForCausalLM", tokens=ScoreTokens("yes", "no"))
    assert [each.partition(":")[0] for each in spec.assumed] == ["scores by the tokens yes and no"]


@pytest.mark.parametrize("tag", ["text-ranking", "text-classification"])
def test_a_plain_language_model_whose_card_says_reranker_is_refused_with_the_form_that_works(
    tmp_path: Path, tag: str
) -> None:
    model = plain(tmp_path, config={**QWEN3, "hidden_size": 8})
    assert ModelSpec.read(model).kind is Kind.EMBEDDING_MODEL
    (model / "README.md").write_text(f"---\nlicense: apache-2.0\npipeline_tag: {tag}\n---\n# It ranks\n")
    with pytest.raises(ModelRefused, match=r"Use a copy that is saved for CrossEncoder \(modules.json with LogitScore"):
        ModelSpec.read(model)


def test_a_plain_language_model_refuses_the_task_score_with_the_form_that_works(tmp_path: Path) -> None:
    model = plain(tmp_path, config={**QWEN3, "hidden_size": 8})
    args = ServeArgs.model_validate({"model_name": "a", "model_dir": str(model), "task": Task.SCORE})
    with pytest.raises(ModelRefused, match="saved for CrossEncoder"):
        ModelSpec.from_args(args)


def test_template_and_tokens_are_part_of_the_space(tmp_path: Path) -> None:
    given: dict[str, dict[str, Any]] = {
        "same": {},
        "tokens": {"logit_score": {"false_token_id": None}},
        "template": {"tokenizer": {"chat_template": f"{TEMPLATE}."}},
    }
    spaces = {name: space.digest(ModelSpec.read(reranker(tmp_path / name, **says))) for name, says in given.items()}
    assert len(set(spaces.values())) == len(given)
