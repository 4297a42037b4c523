"""Which backend serves a model where no flag names one: from the model's files alone, before anything is imported.

vllm serves what the correctness matrix covers, and tries what vLLM has a class of its own for: there the self test at
start decides, and huggingface takes over from a refusal, in the same process, started anew. Everything else is
huggingface's: vLLM would run transformers' code through an adapter, half a minute later. Imports nothing of vLLM.
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
    """What loads the model."""

    backend: BackendName
    """Never AUTO."""
    reason: str
    """In words, for the log and for users."""
    falls_back: bool = False
    """huggingface serves what vllm refuses."""


def choose(args: ServeArgs, spec: ModelSpec) -> Choice:
    """A backend that is named is obeyed. Raises ModelRefused."""
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
            f"vLLM has no class of its own for {architecture or 'a model of no architecture'}",
        )
    return Choice(BackendName.VLLM, f"vLLM has {architecture}, and passed the self test ({reason})", falls_back=True)


def _why_not_vllm(args: ServeArgs, spec: ModelSpec) -> str | None:
    if args.quantize is not Quantization.NONE:
        return f"vLLM is not used with --quantize={args.quantize}"
    if "minimum_cosine" in args.model_fields_set:
        return "--minimum_cosine is set, and vLLM's vectors are not measured"
    if _installed() is None:
        return "vLLM is not in this installation"
    problems = vllm_limits.problems(spec)
    return f"vLLM cannot serve it exactly: the model {', and '.join(problems)}" if problems else None


_REGISTRY = Path("model_executor/models/registry.py")

_TABLES = ("_TEXT_GENERATION_MODELS", "_EMBEDDING_MODELS", "_SEQUENCE_CLASSIFICATION_MODELS")


def own_classes() -> AbstractSet[str]:
    """The architectures of texts that the installed vLLM has classes for, as its source lists them.

    Asking vLLM itself would import it, which takes half a minute. Empty where the lists are not where they were: then
    huggingface serves what the matrix does not cover.
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
    """vLLM's package, unopened."""
    found = importlib.util.find_spec("vllm")
    places = None if found is None else found.submodule_search_locations
    return Path(places[0]) if places else None
