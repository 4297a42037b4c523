import json
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import Dtype, ServeArgs
from embedding_runtime.contract.initializer import MODEL_NOTE
from embedding_runtime.model import Cut, Dense, ModelRefused, ModelSpec, Normalize, Pooling, Side, matryoshka
from support.initializer import A_POINTER
from support.models import a_model, packaged_minilm

TEXT = {"method": "forward", "method_output_name": "last_hidden_state"}

SCORES = {"architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}

NEW_TYPES = {
    "Transformer": "sentence_transformers.base.modules.transformer.Transformer",
    "Pooling": "sentence_transformers.sentence_transformer.modules.pooling.Pooling",
    "Normalize": "sentence_transformers.base.modules.normalize.Normalize",
}


def test_the_packaged_minilm_is_read() -> None:
    assert ModelSpec.read(packaged_minilm()) == ModelSpec(
        directory=packaged_minilm(),
        root=packaged_minilm(),
        pooling=(Pooling.MEAN,),
        include_prompt=True,
        steps=(Normalize(),),
        dimensions=384,
        hidden=384,
        sizes=(),
        max_length=256,
        vocabulary=30522,
        padding=None,
        cut_side=Side.RIGHT,
        lower_case=False,
        prompt="",
        prompts={},
        similarity="cosine",
        dtype=Dtype.FLOAT32,
    )


@pytest.mark.parametrize(
    ("says", "field", "value"),
    [
        ({"pooling": {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}}, "pooling", (Pooling.CLS,)),
        ({"pooling": {"pooling_mode_lasttoken": True}}, "pooling", (Pooling.LAST_TOKEN,)),
        ({"pooling": {"pooling_mode": "cls"}, "types": NEW_TYPES}, "pooling", (Pooling.CLS,)),
        ({"pooling": {"pooling_mode": ["lasttoken"]}, "types": NEW_TYPES}, "pooling", (Pooling.LAST_TOKEN,)),
        ({"pooling": {"pooling_mode": "mean", "pooling_mode_cls_token": True}}, "pooling", (Pooling.MEAN,)),
        ({"pooling": {}}, "pooling", (Pooling.MEAN,)),
        # side by side in sentence-transformers' own order, not in the file's
        (
            {"pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}},
            "pooling",
            (Pooling.CLS, Pooling.MEAN),
        ),
        ({"pooling": {"pooling_mode": ["mean", "cls"]}}, "pooling", (Pooling.MEAN, Pooling.CLS)),
        ({"pooling": {"pooling_mode": ["mean", "cls"]}}, "dimensions", 16),
        ({"pooling": {"include_prompt": False}}, "include_prompt", False),
        ({"pooling": {"embedding_dimension": 7}}, "dimensions", 7),
        ({"pooling": {}}, "dimensions", 8),
        ({"modules": ["Transformer", "Pooling"]}, "normalized", False),
        ({"modules": ["Transformer", "Pooling", "Dropout", "Normalize"]}, "steps", (Normalize(),)),
        ({"transformer": {"max_seq_length": None}}, "max_length", 128),
        ({"transformer": {"max_seq_length": None}, "tokenizer": {"model_max_length": 10**30}}, "max_length", 256),
        ({"transformer": {"max_seq_length": 512}}, "max_length", 256),
        ({"config": {"max_position_embeddings": -1}}, "max_length", 64),
        ({"config": {"max_position_embeddings": None}}, "max_length", 64),
        ({"config": {"model_type": "xlm-roberta", "max_position_embeddings": 34, "pad_token_id": 1}}, "max_length", 32),
        ({"transformer": {"do_lower_case": True}}, "lower_case", True),
        ({"config": {"dtype": None, "torch_dtype": "bfloat16"}}, "dtype", Dtype.BFLOAT16),
        ({"config": {"dtype": "float16"}}, "dtype", Dtype.FLOAT16),
        ({"config": {"dtype": None}}, "dtype", Dtype.FLOAT32),
        ({"defaults": {"prompts": {"query": "q: "}, "default_prompt_name": None}}, "prompt", ""),
        ({"defaults": {"prompts": {"query": "q: "}, "default_prompt_name": "query"}}, "prompt", "q: "),
        ({"defaults": {"truncate_dim": 3}}, "dimensions", 3),
        ({"defaults": {"truncate_dim": 3}}, "steps", (Normalize(), Cut(3))),
        ({"defaults": {"truncate_dim": 3}}, "normalized", False),
        ({"defaults": {"truncate_dim": 300}}, "dimensions", 8),
        ({"defaults": {"prompts": {"query": "q: ", "document": None}}}, "prompts", {"query": "q: ", "document": ""}),
        ({"transformer": {"model_args": {"torch_dtype": "float16", "device_map": "auto"}}}, "dtype", Dtype.FLOAT16),
        ({"transformer": {"model_kwargs": {"dtype": "auto"}}}, "dtype", Dtype.FLOAT32),
        ({"transformer": {"tokenizer_args": {"model_max_length": 32}}}, "max_length", 32),
        ({"transformer": {"processor_kwargs": {"truncation_side": "left"}}}, "cut_side", Side.LEFT),
        ({"config": {"is_matryoshka": True}}, "sizes", range(1, 8)),
        ({"config": {"matryoshka_dimensions": [8, 4, 2]}}, "sizes", (2, 4)),
        ({"config": {"matryoshka_dimensions": [8, 4, 2]}, "defaults": {"truncate_dim": 4}}, "sizes", (2,)),
        ({"tokenizer": {"truncation_side": "left"}}, "cut_side", Side.LEFT),
        ({"defaults": {"similarity_fn_name": "dot"}}, "similarity", "dot"),
        ({"defaults": {"similarity_fn_name": None}}, "similarity", "cosine"),
    ],
)
def test_the_files_decide(tmp_path: Path, says: dict[str, Any], field: str, value: object) -> None:
    assert getattr(ModelSpec.read(a_model(tmp_path, **says)), field) == value


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_args": {"trust_remote_code": True, "attn_implementation": "flash_attention_2"}},
        {"model_args": {"add_pooling_layer": False, "low_cpu_mem_usage": True, "use_safetensors": True}},
        {"tokenizer_args": {"padding_side": "left", "use_fast": True, "trust_remote_code": True}},
        {"config_args": {"trust_remote_code": True, "use_cache": False, "quantization_config": None}},
    ],
)
def test_arguments_that_do_not_affect_vectors_are_accepted(tmp_path: Path, arguments: dict[str, Any]) -> None:
    plain = ModelSpec.read(a_model(tmp_path))
    assert ModelSpec.read(a_model(tmp_path, transformer=arguments)) == plain


def test_the_type_of_the_weights_is_read_without_a_config(tmp_path: Path) -> None:
    tensors = {
        name: {"dtype": dtype, "shape": [0], "data_offsets": [0, 0]} for name, dtype in (("ids", "I64"), ("w", "F16"))
    }
    header = json.dumps({"__metadata__": {}, **tensors}).encode()
    model = a_model(tmp_path, config={"dtype": None})
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert ModelSpec.read(model).dtype == Dtype.FLOAT16


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"modules": ["Transformer", "Pooling", "LSTM", "Normalize"]}, "LSTM"),
        ({"modules": ["Transformer", "Normalize", "Pooling"]}, "only Transformer"),
        ({"types": {"Pooling": "sentence_transformers.models.WeightedLayerPooling"}}, "WeightedLayerPooling"),
        ({"modules": ["Transformer"]}, "only Transformer"),
        ({"types": {"Pooling": "their_code.Pooling"}}, "their_code.Pooling"),
        ({"defaults": {"default_prompt_name": "query"}}, "'query', which is not in its prompts"),
        ({"defaults": {"model_type": "SparseEncoder"}}, "model_type SparseEncoder, of which only MLMTransformer"),
        ({"defaults": {"truncate_dim": "8"}}, "truncate_dim '8'"),
        ({"pooling": {"pooling_mode": ["mean", "median"]}}, "pools by median"),
        ({"pooling": {"pooling_mode": []}}, "pools by nothing"),
        ({"config": {"architectures": ["BertForSequenceClassification"]}}, "a cross-encoder"),
        ({"transformer": {"modality_config": {"text": TEXT, "message": TEXT}}}, "chat template"),
        ({"transformer": {"modality_config": {"text": {**TEXT, "method": "get_text_features"}}}}, "modality_config"),
        ({"transformer": {"module_output_name": "sentence_embedding"}}, "modality_config"),
        (
            {"transformer": {"processing_kwargs": {"a": 1}, "transformer_task": "retrieval"}},
            "processing_kwargs, transf",
        ),
        ({"transformer": {"model_args": {"a": 1}, "config_args": {"b": {}}}}, "model_args.a to 1, config_args.b to {}"),
        ({"transformer": {"model_args": {"use_safetensors": False}}}, "use_safetensors to false"),
        ({"transformer": {"model_kwargs": {"torch_dtype": ["float16"]}}}, "model_kwargs.torch_dtype to"),
        ({"transformer": {"model_args": {"dtype": "int8"}}}, "int8"),
        ({"transformer": {"config_args": {"attn_implementation": "mine"}}}, 'attn_implementation to "mine"'),
        ({"transformer": {"tokenizer_args": {"truncation_side": "up"}}}, "truncation_side 'up'"),
        ({"transformer": {"tokenizer_args": {"do_lower_case": True}}}, "if it does, set it in the model's config.json"),
        ({"transformer": {"tokenizer_args": [1]}}, "must be an object"),
        (
            {"modules": ["Transformer", "Pooling", "Dense"], "dense": {"in_features": 9}},
            "has 9 inputs, .* has 8 outputs",
        ),
        ({"modules": ["Transformer", "Pooling", "Dense"], "dense": {"activation_function": "mine.Act"}}, "mine.Act"),
        (
            {"modules": ["Transformer", "Pooling", "Dense"], "dense": {"module_input_name": "token_embeddings"}},
            "module_input_name token_embeddings",
        ),
        ({"config": {"dtype": "float8_e4m3fn"}}, "float8_e4m3fn: set --dtype"),
        ({"config": {"vocab_size": None}}, "config.json has no vocab_size"),
        (
            {
                "transformer": {"max_seq_length": None},
                "tokenizer": {"model_max_length": 10**30},
                "config": {"max_position_embeddings": None},
            },
            "does not define a maximum length",
        ),
    ],
)
def test_unsupported_models_are_refused_by_name(tmp_path: Path, says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=words.replace("+", r"\+")):
        ModelSpec.read(a_model(tmp_path, **says))


@pytest.mark.parametrize("name", ["modules.json", "config.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("content", [None, "", "{", "[1]", "3"])
def test_an_invalid_file_is_named(tmp_path: Path, name: str, content: str | None) -> None:
    if (name, content) == ("modules.json", None):
        name = "config.json"  # a plain transformers model is to have it all there
    path = a_model(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(ModelRefused, match=path.name):
        ModelSpec.read(tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "modules.json",
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "2_Dense/model.safetensors",
    ],
)
def test_a_git_lfs_pointer_is_named_with_the_remedy(tmp_path: Path, name: str) -> None:
    model = a_model(tmp_path, modules=["Transformer", "Pooling", "Dense"])
    (model / name).write_bytes(A_POINTER)
    with pytest.raises(ModelRefused, match=f"{name} is a Git LFS pointer to a file of 90868376 bytes.*`git lfs pull`"):
        ModelSpec.read(model)


def test_a_pointer_next_to_the_loaded_weights_is_ignored(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    header = json.dumps({"w": {"dtype": "F32"}}).encode()
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    (model / "pytorch_model.bin").write_bytes(A_POINTER)
    ModelSpec.read(model)


def test_dense_layers_are_read_with_their_defaults(tmp_path: Path) -> None:
    modules = ["Transformer", "Pooling", "Dense", "Normalize"]
    spec = ModelSpec.read(a_model(tmp_path, modules=modules, dense={"out_features": 5}))
    where = tmp_path / "2_Dense"
    dense = Dense(where, inputs=8, outputs=5, bias=True, activation="torch.nn.modules.activation.Tanh", residual=False)
    assert spec.steps == (dense, Normalize())
    assert spec.dimensions == 5


def test_a_module_outside_of_the_models_directory_is_refused(tmp_path: Path) -> None:
    model = a_model(tmp_path / "model")
    (model / "modules.json").write_text((model / "modules.json").read_text().replace("1_Pooling", "../1_Pooling"))
    with pytest.raises(ModelRefused, match=r"outside of the model's directory: \.\./1_Pooling"):
        ModelSpec.read(model)


def test_the_transformer_may_be_in_a_subdirectory(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    own = tmp_path / "0_Transformer"
    own.mkdir()
    for name in ("config.json", "sentence_bert_config.json", "tokenizer_config.json"):
        (model / name).rename(own / name)
    listed = (model / "modules.json").read_text()
    (model / "modules.json").write_text(listed.replace('"path": ""', '"path": "0_Transformer"'))
    assert ModelSpec.read(model).directory == own
    assert ModelSpec.read(model).max_length == 64


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"architectures": ["BertModel"]}, Pooling.MEAN),
        ({}, Pooling.MEAN),
        ({"architectures": ["Qwen3ForCausalLM"]}, Pooling.LAST_TOKEN),
        ({"architectures": ["Qwen3ForCausalLM"], "is_causal": False}, Pooling.MEAN),
    ],
)
def test_without_modules_the_defaults_are_used_and_reported(
    tmp_path: Path, config: dict[str, Any], pooling: Pooling
) -> None:
    model = a_model(tmp_path, config={"hidden_size": 12, **config})
    (model / "modules.json").unlink()
    spec = ModelSpec.read(model)
    assert (spec.pooling, spec.steps, spec.dimensions) == ((pooling,), (), 12)
    assert spec.assumed[0].startswith(f"pooling by {pooling}: ")


def test_an_unreadable_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", forbidden)  # root, as whom tests may run, may read everything
    args = ServeArgs.model_validate({"model_name": "a", "model_dir": str(a_model(tmp_path))})
    with pytest.raises(ModelRefused, match=r"modules\.json cannot be read: Permission denied"):
        ModelSpec.from_args(args)


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ({"defaults": {"prompts": ["query: "]}}, r"prompts \['query: '\], which must be an object"),
        ({"transformer": {"modality_config": ["text"]}}, "sets modality_config"),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_by_name(tmp_path: Path, says: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelRefused, match=words):
        ModelSpec.read(a_model(tmp_path, **says))


def test_the_revision_comes_from_the_initializers_note(tmp_path: Path) -> None:
    model = a_model(tmp_path)
    (model / MODEL_NOTE).write_text('{"revision": "c0ffee"}')
    assert ModelSpec.read(model).revision == "c0ffee"


def noted(model: Path, uri: str) -> Path:
    """As the initializer notes where a model came from."""
    (model / MODEL_NOTE).write_text(json.dumps({"uri": uri, "revision": "c0ffee"}))
    return model


def asked(model: Path, *flags: str) -> ModelSpec:
    return ModelSpec.from_args(ServeArgs.from_argv([f"--model_dir={model}", "--model_name=a", *flags]))


@pytest.mark.parametrize(
    ("uri", "sizes", "source"),
    [
        ("hf://google/embeddinggemma-300m", (128, 256, 512), "https://huggingface.co/google/embeddinggemma-300m"),
        ("hf://google/embeddinggemma-300m:main", (128, 256, 512), "https://huggingface.co/google/embeddinggemma-300m"),
        ("hf://Qwen/Qwen3-Embedding-0.6B", range(32, 768), "https://huggingface.co/Qwen/Qwen3-Embedding-0.6B"),
        ("hf://somebody/embeddinggemma-300m", (), ""),
        ("s3://google/embeddinggemma-300m", (), ""),
        ("google/embeddinggemma-300m", (), ""),
    ],
)
def test_known_models_have_the_sizes_of_their_card(tmp_path: Path, uri: str, sizes: object, source: str) -> None:
    spec = ModelSpec.read(noted(a_model(tmp_path, pooling={"word_embedding_dimension": 768}), uri))
    assert (spec.sizes, spec.sizes_source) == (sizes, source)


def test_the_flag_overrides_the_config_which_overrides_the_card(tmp_path: Path) -> None:
    model = a_model(
        tmp_path, pooling={"word_embedding_dimension": 768}, config={"matryoshka_dimensions": [64, 768, 1024]}
    )
    noted(model, "hf://google/embeddinggemma-300m")
    found = [asked(model, *flags) for flags in ([], ["--matryoshka=32,768"], ["--matryoshka=any"])]
    assert [(spec.sizes, spec.sizes_source) for spec in found] == [
        ((64,), "config.json"),
        ((32,), "--matryoshka"),
        (range(1, 768), "--matryoshka"),
    ]


def test_every_known_model_has_its_sizes_and_the_address_of_a_card() -> None:
    families = tomllib.loads(Path(matryoshka.__file__).with_suffix(".toml").read_text())["family"]
    for family in families:
        assert set(family) - {"sizes", "smallest"} == {"repositories", "source"}
        assert ("sizes" in family) != ("smallest" in family)
        assert any(family["source"] == f"https://huggingface.co/{each}" for each in family["repositories"])


@pytest.mark.parametrize(
    ("flag", "config", "words"),
    [
        ("--matryoshka=4,9", {}, "--matryoshka=4,9: 9 exceeds the 8 dimensions"),
        ("--matryoshka=any", SCORES, "returns scores, not vectors; remove the flag"),
        ("--truncate=start", SCORES, "use --truncate=end, or remove the flag"),
    ],
)
def test_flags_that_a_model_does_not_support_are_refused(
    tmp_path: Path, flag: str, config: dict[str, Any], words: str
) -> None:
    model = a_model(tmp_path, config=config)
    if config:
        (model / "modules.json").unlink()
    with pytest.raises(ModelRefused, match=words):
        asked(model, flag)


def test_a_chat_template_is_refused_where_sentence_transformers_would_use_it(tmp_path: Path) -> None:
    model = a_model(tmp_path, config={"hidden_size": 12}, tokenizer={"chat_template": "{{ messages }}"})
    ModelSpec.read(model)  # saved without a word of it: not used
    (model / "modules.json").unlink()
    with pytest.raises(ModelRefused, match="chat template"):
        ModelSpec.read(model)


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelRefused, match="not a directory"):
        ModelSpec.read(tmp_path / "nothing")


def test_flags_can_only_lower_the_maximum_length(tmp_path: Path) -> None:
    spec = ModelSpec.read(a_model(tmp_path))
    assert spec.limited(max_length=None, dtype=Dtype.AUTO) == spec
    assert spec.limited(max_length=10, dtype=Dtype.AUTO).max_length == 10
    assert spec.limited(max_length=None, dtype=Dtype.BFLOAT16).dtype == Dtype.BFLOAT16
    with pytest.raises(ModelRefused, match=r"--max_length=65 .* 64 tokens"):
        spec.limited(max_length=65, dtype=Dtype.AUTO)
