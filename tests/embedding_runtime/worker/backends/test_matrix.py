"""Every shape of model on both real backends, in both file formats, against sentence-transformers itself.

The matrix is printed at the end of the run: model shape and head, backend, file format, batch mates. vLLM, which starts
slowly, has the marker `model`.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.contract import Dtype
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.worker.backends import vllm_coverage
from support.asking import AskedBackend

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")

TEXTS = [
    "a",
    "",
    "the quick brown fox",
    "Upper CASE, Ünïcödé, 你好, 🙂",
    "the lazy dog " * 20,
    "jumps over " * 12,
    "<pad> in [PAD] a text <|pad|> and after",
    *(f"query {n} " * n for n in range(1, 8)),
]


@dataclass(frozen=True)
class Row:
    name: str
    shape: str = "bert"
    pooling: str | tuple[str, ...] = "mean"
    steps: str = "normalize"
    options: tuple[tuple[str, Any], ...] = ()


def steps(kind: str, inputs: int = 32) -> Sequence[Any]:
    torch.manual_seed(5)
    made: dict[str, list[Any]] = {
        "nothing": [],
        "normalize": [tiny.Normalize()],
        "dense": [tiny.Dense(inputs, 12)],
        "dense + normalize": [tiny.Dense(inputs, 12, bias=False, activation_function=None), tiny.Normalize()],
        "dense + dense": [tiny.Dense(inputs, 48, activation_function=torch.nn.GELU()), tiny.Dense(48, 8)],
        "normalize + dense": [tiny.Normalize(), tiny.Dense(inputs, inputs, use_residual=True)],
        "residual": [tiny.Dense(inputs, 16, use_residual=True), tiny.Normalize()],
        "dense of two": [tiny.Dense(64, 16), tiny.Normalize()],
    }
    return made[kind]


POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
PROMPT = (("prompts", {"q": "query: "}), ("default_prompt_name", "q"))

ROWS = [
    *(Row(f"{shape}-mean", shape) for shape in ("distilbert", "mpnet", "xlm-roberta", "modernbert", "t5")),
    *(Row(f"{shape}-cls", shape, "cls", "nothing") for shape in ("mpnet", "xlm-roberta", "modernbert")),
    Row("qwen3-lasttoken", "qwen3", "lasttoken"),
    Row("qwen3-mean", "qwen3", "mean"),
    *(Row(f"bert-{pooling}", pooling=pooling, steps="nothing") for pooling in POOLINGS),
    Row("bert-cls+mean", pooling=("cls", "mean")),
    Row("bert-max+mean-dense", pooling=("max", "mean"), steps="dense of two"),
    *(Row(f"bert-{kind.replace(' ', '')}", steps=kind) for kind in ("dense", "dense + normalize", "dense + dense")),
    *(Row(f"bert-{kind.replace(' ', '')}", steps=kind) for kind in ("normalize + dense", "residual")),
    Row("t5-dense", "t5", steps="dense + normalize"),
    Row("bert-prompt", options=PROMPT),
    *(Row(f"bert-{p}-without-prompt", pooling=p, options=(*PROMPT, ("include_prompt", False))) for p in POOLINGS),
    Row("qwen3-without-prompt", "qwen3", "lasttoken", options=(*PROMPT, ("include_prompt", False))),
    Row("bert-truncated", options=(("truncate_dim", 20),)),
]

FORMATS = ("new", pytest.param("old", marks=pytest.mark.slow))


@pytest.fixture(scope="module")
def transformers_of(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("transformers")
    return {name: tiny.a_transformer(directory / name, shape) for name, shape in tiny.SHAPES.items()}


def off(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """The largest 1 - cosine."""
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float((1 - (found * wanted).sum(axis=1) / norms).max())


def reference_vectors(reference: Any, texts: Sequence[str]) -> npt.NDArray[Any]:
    """Each text alone, so that no padding touches it."""
    return np.concatenate([reference.encode([text], show_progress_bar=False) for text in texts])


def check(model: Path, note: Callable[[str, float], None]) -> None:
    """Equal tokens, equal vectors: alone, together, in another order."""
    reference = tiny.SentenceTransformer(str(model), device="cpu")
    wanted = reference_vectors(reference, TEXTS)
    prompt = reference.prompts.get(reference.default_prompt_name)
    counts = [reference.preprocess([text], prompt=prompt)["input_ids"].shape[1] for text in TEXTS]

    spec = ModelSpec.read(model)
    ids = TextTokenizer(spec).encode(TEXTS)
    assert [len(text) for text in ids] == counts
    assert spec.dimensions == reference.get_embedding_dimension()
    assert spec.max_length == reference.max_seq_length
    backend = huggingface.load(spec)
    alone = np.concatenate([backend.embed(text) for text in ids.singles()])
    together = backend.embed(ids)
    order = np.random.default_rng(6).permutation(len(ids))
    shuffled = np.empty_like(together)
    shuffled[order] = backend.embed(ids.reordered(order))
    assert len({row.tobytes() for row in wanted.round(3)}) == len(
        TEXTS
    )  # nothing is shown by vectors that are all alike
    for mates, found in (("alone", alone), ("together", together), ("shuffled", shuffled)):
        assert found.shape == wanted.shape
        note(mates, off(found, wanted))
        assert off(found, wanted) < 1e-6
        assert np.abs(found - wanted).max() < 1e-4 * max(1, np.abs(wanted).max())  # lengths, too, not only directions


def a_model(directory: Path, transformers_of: dict[str, Path], row: Row) -> Path:
    model: Path = tiny.saved(
        directory, transformers_of[row.shape], pooling=row.pooling, steps=steps(row.steps), **dict(row.options)
    )
    return model


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_both_formats_of_the_files_say_the_same(tmp_path: Path, transformers_of: dict[str, Path], row: Row) -> None:
    model = a_model(tmp_path, transformers_of, row)
    new = ModelSpec.read(model)
    assert ModelSpec.read(tiny.as_old_format(model)) == new


@pytest.mark.parametrize("file_format", FORMATS)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_vectors_equal_those_of_sentence_transformers(
    tmp_path: Path, transformers_of: dict[str, Path], compared: Any, row: Row, file_format: str
) -> None:
    model = a_model(tmp_path, transformers_of, row)
    if file_format == "old":
        tiny.as_old_format(model)
    check(model, partial(compared, row.name, "huggingface", file_format))


def test_text_is_lower_cased_if_the_transformer_module_sets_it(
    tmp_path: Path, transformers_of: dict[str, Path], compared: Any
) -> None:
    model = tiny.as_old_format(tiny.saved(tmp_path, transformers_of["bert"]))
    said = {"max_seq_length": 96, "do_lower_case": True}
    (model / "sentence_bert_config.json").write_text(json.dumps(said))
    check(model, partial(compared, "bert-lower-cased", "huggingface", "old"))


def test_the_transformer_may_be_in_a_subdirectory(
    tmp_path: Path, transformers_of: dict[str, Path], compared: Any
) -> None:
    model = tiny.as_old_format(tiny.saved(tmp_path, transformers_of["bert"]))
    (model / "0_Transformer").mkdir()
    for file in list(model.iterdir()):
        if file.is_file() and file.name not in {"modules.json", "config_sentence_transformers.json"}:
            file.rename(model / "0_Transformer" / file.name)
    listed = (model / "modules.json").read_text().replace('"path": ""', '"path": "0_Transformer"')
    (model / "modules.json").write_text(listed)
    check(model, partial(compared, "bert-in-its-own-directory", "huggingface", "old"))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", ["bert", "modernbert", "qwen3"])
def test_smaller_types_stay_close(tmp_path: Path, transformers_of: dict[str, Path], shape: str, dtype: str) -> None:
    model = tiny.saved(tmp_path, transformers_of[shape], steps=steps("dense + normalize"))
    reference = tiny.SentenceTransformer(str(model), device="cpu", model_kwargs={"dtype": getattr(torch, dtype)})
    wanted = reference_vectors(reference, TEXTS).astype(np.float32)
    spec = ModelSpec.read(model).limited(max_length=None, dtype=Dtype(dtype))
    assert off(huggingface.load(spec).embed(TextTokenizer(spec).encode(TEXTS)), wanted) < 1e-4


@pytest.mark.parametrize("shape", ["bert", "xlm-roberta", "modernbert", "qwen3", "t5"])
def test_a_plain_transformers_model_is_read_as_in_sentence_transformers(
    transformers_of: dict[str, Path], compared: Any, shape: str
) -> None:
    check(transformers_of[shape], partial(compared, f"{shape}-plain", "huggingface", "plain"))


@pytest.mark.parametrize(("shape", "way"), tiny.WAYS.items())
def test_a_model_uses_the_fastest_forward_that_keeps_its_vectors(
    transformers_of: dict[str, Path], shape: str, way: str
) -> None:
    backend = huggingface.load(ModelSpec.read(transformers_of[shape]))
    assert backend.detail.endswith(f"in float32, {way} batches")


VLLM_SIZES: dict[str, Any] = {"hidden_size": 128}  # its attention on CPUs wants heads of 32 or more
VLLM_ROWS = [
    Row("bert-mean-old"),
    Row("bert-cls-new", pooling="cls", steps="nothing", options=(*PROMPT, ("truncate_dim", 20))),
    Row("bert-cls-dense-new", pooling="cls", steps="dense + normalize"),  # LaBSE
    Row("bert-mean-dense-old", steps="dense"),
    Row("bert-mean-residual-new", steps="normalize + dense", options=(("truncate_dim", 20),)),
    Row("roberta-mean-new", "roberta"),
    Row("roberta-mean-dense-new", "roberta", steps="dense + dense"),
    Row("xlm-roberta-mean-old", "xlm-roberta"),
    Row("xlm-roberta-cls-new", "xlm-roberta", "cls"),
    Row("qwen3-lasttoken-new", "qwen3", "lasttoken"),
    Row("qwen3-lasttoken-hub", "qwen3", "lasttoken"),  # config.json names the class that it was trained as
]
# vLLM gives a padding's token inside of a text the next position; RoBERTa's own code gives it the padding's.
VLLM_TEXTS = [text for text in TEXTS if "<pad>" not in text]


def a_vllm_model(directory: Path, row: Row) -> Path:
    heads = {"head_dim": 32} if row.shape == "qwen3" else {}
    plain = tiny.a_transformer(directory / "plain", tiny.SHAPES[row.shape], **VLLM_SIZES, **heads)
    model: Path = tiny.saved(
        directory / "saved", plain, pooling=row.pooling, steps=steps(row.steps, 128), **dict(row.options)
    )
    if row.name.endswith("old"):
        tiny.as_old_format(model)
    if row.name.endswith("hub"):
        config = model / "config.json"
        config.write_text(config.read_text().replace("Qwen3Model", "Qwen3ForCausalLM"))
    return model


def test_vllm_needs_no_self_test_exactly_for_the_matrix(tmp_path: Path) -> None:
    specs = [ModelSpec.read(a_vllm_model(tmp_path / row.name, row)) for row in VLLM_ROWS]
    assert {vllm_coverage.case_of(spec) for spec in specs} == {case for case in vllm_coverage.COVERED if case.pooling}
    assert [vllm_coverage.reason_for_self_test(spec) for spec in specs] == [None] * len(specs)


@pytest.mark.model
@pytest.mark.parametrize("row", VLLM_ROWS, ids=lambda row: row.name)
def test_vllms_vectors_equal_those_of_sentence_transformers(
    vllm: AskedBackend, tmp_path: Path, compared: Any, row: Row
) -> None:
    model = a_vllm_model(tmp_path, row)
    wanted = reference_vectors(tiny.SentenceTransformer(str(model), device="cpu"), VLLM_TEXTS)
    answer = vllm.ask(model, VLLM_TEXTS)
    assert "refused" not in answer, answer
    shape, _, file_format = row.name.rpartition("-")
    for mates in ("alone", "together"):
        found = np.array(answer[mates])
        assert found.shape == wanted.shape
        compared(shape, "vllm", file_format, mates, off(found, wanted))
        assert off(found, wanted) < 1e-6
        assert np.abs(found - wanted).max() < 1e-4
