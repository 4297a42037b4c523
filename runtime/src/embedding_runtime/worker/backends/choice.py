"""Selects the backend for --backend=auto from the model's files, before any library is imported.

vllm serves models that the correctness matrix covers. It also tries models for which vLLM has its own class: the self
test at startup decides, and if it fails, the worker process restarts with huggingface. All other models are served by
huggingface, since vLLM would run transformers' code through an adapter, half a minute later. It does not import vLLM.
"""

import ast
import importlib.util
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

from embedding_runtime.contract import BackendName, Quantization, ServeArgs
from embedding_runtime.model import ModelSpec
from embedding_runtime.worker.backends import vllm_coverage, vllm_limits

__all__ = ["Choice", "choose", "own_classes"]


@dataclass(frozen=True)
class Choice:
    """The selected backend."""

    backend: BackendName
    """Never AUTO."""
    reason: str
    """Reason for logs and users."""
    falls_back: bool = False
    """Whether huggingface serves the model if vllm refuses it."""


def choose(args: ServeArgs, spec: ModelSpec) -> Choice:
    """Select the backend; a value of --backend other than auto is used as it is. Raises ModelRefused."""
    if args.backend is not BackendName.AUTO:
        return Choice(args.backend, f"--backend={args.backend} is set")
    if (why_not := _why_not_vllm(args, spec)) is not None:
        return Choice(BackendName.HUGGINGFACE, why_not)
    reason = vllm_coverage.reason_for_self_test(spec)
    if reason is None:
        return Choice(BackendName.VLLM, "vLLM serves this kind of model exactly", falls_back=True)
    architecture = vllm_coverage.case_of(spec).architecture
    if architecture not in own_classes():
        return Choice(
            BackendName.HUGGINGFACE,
            f"vLLM has no class of its own for {architecture or 'a model without architecture'}",
        )
    return Choice(
        BackendName.VLLM,
        f"vLLM has {architecture}, which the self test at startup must pass ({reason})",
        falls_back=True,
    )


def _why_not_vllm(args: ServeArgs, spec: ModelSpec) -> str | None:
    if args.quantize is not Quantization.NONE:
        return f"vLLM is not used with --quantize={args.quantize}"
    if "minimum_cosine" in args.model_fields_set:
        return "--minimum_cosine is set, and vLLM's vectors are not measured"
    if _installed() is None:
        return "vLLM is not installed"
    if more := spec.token_heads.files:
        return f"vLLM returns dense vectors only, and the model also has the outputs {' and '.join(more)}"
    problems = vllm_limits.problems(spec)
    return f"vLLM cannot serve it exactly: the model {', and '.join(problems)}" if problems else None


_REGISTRY = Path("model_executor/models/registry.py")

_TABLES = ("_TEXT_GENERATION_MODELS", "_EMBEDDING_MODELS", "_SEQUENCE_CLASSIFICATION_MODELS")


def own_classes() -> AbstractSet[str]:
    """Architectures of text models that the installed vLLM has classes for, parsed from its source.

    Importing vLLM would take half a minute. The result is empty if vLLM's source is organized differently; huggingface
    then serves all models outside of the matrix.
    """
    vllm = _installed()
    if vllm is None or not (source := vllm / _REGISTRY).is_file():
        return frozenset()
    return frozenset(
        key.value
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)
        if any(isinstance(target, ast.Name) and target.id in _TABLES for target in node.targets)
        for key in node.value.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    )


def _installed() -> Path | None:
    """The directory of vLLM's package, without importing it."""
    found = importlib.util.find_spec("vllm")
    places = None if found is None else found.submodule_search_locations
    return Path(places[0]) if places else None
