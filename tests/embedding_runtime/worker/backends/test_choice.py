"""Which backend serves a model where no flag names one: decided by its files, and said in words."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import BackendName, ContractError, Dtype, ServeArgs
from embedding_runtime.model import ModelSpec, Pooling
from embedding_runtime.worker.backends import choice
from embedding_runtime.worker.backends.choice import Choice, choose
from embedding_runtime.worker.warm_up import warm_up
from support.models import packaged_minilm
from support.services import MINILM

MODERN = {"model_type": "modernbert", "architectures": ["ModernBertModel"]}
DISTIL = {"model_type": "distilbert", "architectures": ["DistilBertModel"]}


REGISTRY = """
_TEXT_GENERATION_MODELS = {"Qwen3ForCausalLM": ("qwen3", "Qwen3ForCausalLM")}
_EMBEDDING_MODELS = {
    "BertModel": ("bert", "BertEmbeddingModel"),
    **{k: (mod, arch) for k, (mod, arch) in _TEXT_GENERATION_MODELS.items()},
    "ModernBertModel": ("modernbert", "ModernBertModel"),
}
_OTHER_MODELS = {"DistilBertModel": ("other", "Other")}
"""


@pytest.fixture(autouse=True)
def vllm(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation of it, with the file that is read."""
    package = tmp_path_factory.mktemp("vllm")
    (package / "model_executor/models").mkdir(parents=True)
    (package / "model_executor/models/registry.py").write_text(REGISTRY)
    monkeypatch.setattr(choice, "_installed", lambda: package)


def chosen(directory: Path, *flags: str, says: dict[str, Any] | None = None, **changes: Any) -> Choice:
    config = json.loads((packaged_minilm() / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, **(says or {})}))
    args = ServeArgs.from_argv(["--model_name=m", *flags])
    return choose(args, replace(MINILM, directory=directory, **changes))


@pytest.mark.parametrize("backend", ["vllm", "huggingface", "fake"])
def test_an_explicit_backend_is_used(tmp_path: Path, backend: str) -> None:
    assert chosen(tmp_path, f"--backend={backend}", pooling=(Pooling.MAX,)) == Choice(
        BackendName(backend), f"--backend={backend} is set"
    )


def test_vllm_serves_models_of_the_matrix(tmp_path: Path) -> None:
    found = chosen(tmp_path)
    assert (found.backend, found.falls_back) == (BackendName.VLLM, True)
    assert found.reason == "vLLM serves this kind of model exactly"


def test_vllm_tries_models_that_it_has_a_class_for(tmp_path: Path) -> None:
    found = chosen(tmp_path, says=MODERN)
    assert (found.backend, found.falls_back) == (BackendName.VLLM, True)
    assert (
        "vLLM has ModernBertModel, which the self test at startup must pass (ModernBertModel of type modernbert"
        in found.reason
    )


@pytest.mark.parametrize(
    ("flags", "says", "changes", "reason"),
    [
        ([], DISTIL, {}, "no class of its own for DistilBertModel"),
        ([], {"architectures": None}, {}, "no class of its own for a model without architecture"),
        ([], {}, {"pooling": (Pooling.MAX,)}, "cannot serve it exactly: the model pools by max"),
        (["--quantize=int8"], {}, {}, "not used with --quantize=int8"),
        (["--minimum_cosine=0.99"], {}, {}, "--minimum_cosine is set"),
    ],
)
def test_huggingface_serves_all_other_models(
    tmp_path: Path, flags: list[str], says: dict[str, Any], changes: dict[str, Any], reason: str
) -> None:
    found = chosen(tmp_path, *flags, says=says, **changes)
    assert (found.backend, found.falls_back) == (BackendName.HUGGINGFACE, False)
    assert reason in found.reason


def test_without_vllm_huggingface_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_installed", lambda: None)
    assert chosen(tmp_path) == Choice(BackendName.HUGGINGFACE, "vLLM is not installed")


def test_vllms_classes_are_read_from_its_source() -> None:
    assert choice.own_classes() == {"BertModel", "ModernBertModel", "Qwen3ForCausalLM"}


def test_the_source_of_the_installed_vllm_lists_its_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    if choice._installed() is None:
        pytest.skip("there is no vLLM")
    assert {"BertModel", "ModernBertModel", "Qwen3ForCausalLM", "Gemma3TextModel"} <= choice.own_classes()
    assert not {"DistilBertModel", "CamembertModel", "MPNetModel", "T5EncoderModel"} & choice.own_classes()


@pytest.mark.parametrize("task", ["embed", "text_embedding"])
def test_auto_accepts_the_tasks_of_both_backends(task: str) -> None:
    args = ServeArgs.from_argv(["--model_name=m", f"--task={task}", f"--model_dir={packaged_minilm()}"])
    assert ModelSpec.from_args(args).dimensions == 384


@pytest.mark.parametrize("task", ["score", "text_ranking"])
def test_a_task_of_another_kind_of_model_is_refused_with_the_same_backends_name(task: str) -> None:
    args = ServeArgs.from_argv(["--model_name=m", f"--task={task}", f"--model_dir={packaged_minilm()}"])
    right = {"score": "embed", "text_ranking": "text_embedding"}[task]
    with pytest.raises(Exception, match=f"use --task={right}, or remove --task"):
        ModelSpec.from_args(args)


def test_quantization_is_refused_with_an_explicit_vllm() -> None:
    with pytest.raises(ContractError, match="use --backend=huggingface, or remove --backend or --quantize"):
        ServeArgs.from_argv(["--model_name=m", "--backend=vllm", "--quantize=int8"])


class NotANumber:
    """A backend."""

    def embed(self, batch: Any) -> Any:
        np = pytest.importorskip("numpy")
        return np.full((len(batch), 384), np.nan, dtype=np.float32)


@pytest.mark.parametrize(
    ("backend", "dtype", "remedy"),
    [
        (BackendName.VLLM, Dtype.FLOAT16, "use --dtype=float32"),
        (BackendName.VLLM, Dtype.FLOAT32, "use --backend=huggingface, or remove --backend"),
        (BackendName.HUGGINGFACE, Dtype.FLOAT32, "download the model again"),
    ],
)
def test_vectors_that_are_not_finite_have_a_valid_remedy(backend: BackendName, dtype: Dtype, remedy: str) -> None:
    with pytest.raises(Exception, match=f"NaN or infinity in {dtype} with {backend}: .*{remedy}"):
        warm_up(NotANumber(), replace(MINILM, dtype=dtype), backend)  # type: ignore[arg-type]
