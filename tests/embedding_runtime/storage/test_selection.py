import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.storage.selection import is_model, wanted

ALL_MINILM = [
    ".gitattributes",
    "1_Pooling/config.json",
    "README.md",
    "config.json",
    "config_sentence_transformers.json",
    "model.safetensors",
    "modules.json",
    "onnx/model.onnx",
    "openvino/openvino_model.bin",
    "openvino/openvino_model.xml",
    "pytorch_model.bin",
    "rust_model.ot",
    "sentence_bert_config.json",
    "tf_model.h5",
    "tokenizer.json",
    "train_script.py",
    "vocab.txt",
]

segments = st.sampled_from(
    ["onnx", "1_Dense", "model", ".cache", "pytorch_model.bin", "model.safetensors", "config.json", "x.h5", "a.txt"]
)
paths = st.lists(st.lists(segments, min_size=1, max_size=3).map("/".join), unique=True)


def test_only_needed_files_of_a_repository_are_selected() -> None:
    left_out = {
        ".gitattributes",
        "onnx/model.onnx",
        "openvino/openvino_model.bin",
        "openvino/openvino_model.xml",
        "pytorch_model.bin",
        "rust_model.ot",
        "tf_model.h5",
    }
    assert wanted(ALL_MINILM) == [path for path in ALL_MINILM if path not in left_out]


@pytest.mark.parametrize(
    ("paths", "taken"),
    [
        (["config.json", "pytorch_model.bin"], ["config.json", "pytorch_model.bin"]),
        (["model.safetensors", "2_Dense/pytorch_model.bin"], ["model.safetensors", "2_Dense/pytorch_model.bin"]),
        (["2_Dense/model.safetensors", "2_Dense/pytorch_model.bin"], ["2_Dense/model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json"],
            ["model-00001-of-00002.safetensors"],
        ),
        (["model.safetensors", "model.safetensors.index.json"], ["model.safetensors", "model.safetensors.index.json"]),
        (["model.safetensors", "training_args.bin", "original/consolidated.00.pth"], ["model.safetensors"]),
        (
            ["model.safetensors", "sparse_linear.pt", "colbert_linear.pt", "checkpoint/sparse_linear.pt"],
            ["model.safetensors", "sparse_linear.pt", "colbert_linear.pt"],
        ),
        (["sentencepiece.bpe.model", "spiece.model"], ["sentencepiece.bpe.model", "spiece.model"]),
        (["model.Q4_K_M.gguf"], []),
    ],
)
def test_pickled_weights_are_selected_only_without_safetensors(paths: list[str], taken: list[str]) -> None:
    assert wanted(paths) == taken


@given(paths)
def test_a_selection_keeps_the_order_and_selecting_again_changes_nothing(listed: list[str]) -> None:
    taken = wanted(listed)
    assert taken == [path for path in listed if path in taken]
    assert wanted(taken) == taken


@given(paths)
def test_no_directory_loses_all_its_weights(listed: list[str]) -> None:
    for path in listed:
        if path.endswith("pytorch_model.bin") and path not in (taken := wanted(listed)):
            folder = path.removesuffix("pytorch_model.bin")
            other_runtime = any(part == "onnx" or part.startswith(".") for part in path.split("/")[:-1])
            assert other_runtime or f"{folder}model.safetensors" in taken


@pytest.mark.parametrize(
    ("paths", "expected"),
    [(["config.json"], True), (["modules.json"], True), (["1_Pooling/config.json"], False), ([], False)],
)
def test_a_model_has_a_config_or_a_list_of_modules(paths: list[str], expected: bool) -> None:  # noqa: FBT001 a table
    assert is_model(paths) is expected
