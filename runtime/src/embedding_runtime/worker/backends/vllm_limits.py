"""Limits of vLLM: properties of a model that it does not support exactly. This module does not import vLLM."""

from collections.abc import Mapping

from embedding_runtime.model import ModelRefused, ModelSpec, Pooling

__all__ = ["REMEDY", "SEQ_POOLING", "check", "problems"]

REMEDY = "use --backend=huggingface, or remove --backend (of a service: spec.backend), which selects it"

SEQ_POOLING: Mapping[tuple[Pooling, ...], str] = {
    (Pooling.CLS,): "CLS",
    (Pooling.MEAN,): "MEAN",
    (Pooling.LAST_TOKEN,): "LAST",
}
"""vLLM's names of its poolings."""

_CLASSIFIERS = frozenset(f"{name}ForSequenceClassification" for name in ("Bert", "Roberta", "XLMRoberta"))
"""vLLM's cross-encoders that the tests compare with CrossEncoder."""


def check(spec: ModelSpec) -> None:
    """Raises ModelRefused with everything that vLLM does not support."""
    if found := problems(spec):
        raise ModelRefused(
            f"vLLM cannot serve the model in {spec.directory} exactly: it {', and '.join(found)}; {REMEDY}"
        )


def problems(spec: ModelSpec) -> list[str]:
    """What vLLM does not support; the subject of each item is the model."""
    problems = []
    if spec.scores is not None and spec.scores.architecture not in _CLASSIFIERS:
        problems.append(f"scores with {spec.scores.architecture} (vLLM supports {', '.join(sorted(_CLASSIFIERS))})")
    if spec.scores is not None and spec.remote_code:
        problems.append("computes scores with its own code")
    if spec.custom_module is not None:
        problems.append(f"computes token vectors with its own module {spec.custom_module}")
    if spec.static:
        problems.append("is a static model (model2vec), which has no transformer")
    if spec.splade is not None:
        problems.append("is a sparse encoder (SPLADE)")
    elif spec.scores is None and spec.pooling not in SEQ_POOLING:
        problems.append(f"pools by {' + '.join(spec.pooling)} (vLLM supports cls, mean and lasttoken)")
    if spec.prompt and not spec.include_prompt:
        problems.append("excludes its prompt from pooling (include_prompt: false)")
    return problems
