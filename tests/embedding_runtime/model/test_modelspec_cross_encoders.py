"""Files of cross-encoders, read as `CrossEncoder` does."""

from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import BackendName, Kind, ServeArgs, Task
from embedding_runtime.contract.initializer import MODEL_NOTE
from embedding_runtime.model import ModelRefused, ModelSpec, Scores
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
def test_a_score_is_what_config_json_says(tmp_path: Path, config: dict[str, Any], labels: int, activation: str) -> None:
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


def test_the_initializers_note_tells_the_revision(tmp_path: Path) -> None:
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
        ({"modules": ["Transformer", "Pooling", "Dense"]}, "Pooling .*, but a cross-encoder must have one Transformer"),
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


def test_a_chat_template_around_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="chat template"):
        ModelSpec.read(plain(tmp_path, config={}, tokenizer={"chat_template": "{{ messages }}"}))


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
        ModelSpec.asked_for(ServeArgs.model_validate({**args, "task": task}))
    for agreed in (None, right):
        assert ModelSpec.asked_for(ServeArgs.model_validate({**args, "task": agreed})).kind is Kind.CROSS_ENCODER


def test_an_embedding_model_refuses_the_task_score(tmp_path: Path) -> None:
    args = ServeArgs.model_validate({"model_name": "a", "model_dir": str(a_model(tmp_path)), "task": Task.SCORE})
    with pytest.raises(ModelRefused, match=r"is an embedding model: use --task=embed"):
        ModelSpec.asked_for(args)
