"""Limits of vLLM: properties of a model that it does not support exactly. This module does not import vLLM."""

from collections.abc import Mapping

from embedding_runtime.model import ModelRefused, ModelSpec, Pooling

__all__ = ["REMEDY", "SEQ_POOLING", "check", "pooling_of", "problems"]

REMEDY = "use --backend=huggingface, or remove --backend (of a service: spec.backend), which selects it"

SEQ_POOLING: Mapping[tuple[Pooling, ...], str] = {
    (Pooling.CLS,): "CLS",
    (Pooling.MEAN,): "MEAN",
    (Pooling.LAST_TOKEN,): "LAST",
}
"""vLLM's names of its poolings."""

_CLASSIFIERS = frozenset(f"{name}ForSequenceClassification" for name in ("Bert", "Roberta", "XLMRoberta"))
"""vLLM's cross-encoders that the tests compare with CrossEncoder."""


def pooling_of(spec: ModelSpec) -> tuple[Pooling, ...]:
    """What vLLM pools; the steps after it are computed here. Empty for a classification head, which vLLM computes."""
    if spec.scores is not None and spec.scores.tokens is not None:
        return (Pooling.LAST_TOKEN,)
    return spec.pooling


def check(spec: ModelSpec) -> None:
    """Raises ModelRefused with everything that vLLM does not support."""
    if found := problems(spec):
        raise ModelRefused(
            f"vLLM cannot serve the model in {spec.directory} exactly: it {', and '.join(found)}; {REMEDY}"
        )


def problems(spec: ModelSpec) -> list[str]:
    """What vLLM does not support; the subject of each item is the model."""
    problems = []
    pooling = pooling_of(spec)
    if spec.scores is not None and not pooling and spec.scores.architecture not in _CLASSIFIERS:
        problems.append(f"scores with {spec.scores.architecture} (vLLM supports {', '.join(sorted(_CLASSIFIERS))})")
    if spec.scores is not None and spec.remote_code:
        problems.append("computes scores with its own code")
    if spec.custom_module is not None:
        problems.append(f"computes token vectors with its own module {spec.custom_module}")
    if spec.static:
        problems.append("is a static model (model2vec), which has no transformer")
    if spec.splade is not None:
        problems.append("is a sparse encoder (SPLADE)")
    elif pooling and pooling not in SEQ_POOLING:
        problems.append(f"pools by {' + '.join(pooling)} (vLLM supports cls, mean and lasttoken)")
    if spec.prompt and not spec.include_prompt:
        problems.append("excludes its prompt from pooling (include_prompt: false)")
    return problems
