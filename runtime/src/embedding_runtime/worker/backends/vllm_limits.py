"""What of a model vLLM would compute otherwise than its files say, or not at all. Imports nothing of vLLM."""

from collections.abc import Mapping

from embedding_runtime.model import ModelRefused, ModelSpec, Pooling

__all__ = ["SEQ_POOLING", "check", "problems"]

SEQ_POOLING: Mapping[tuple[Pooling, ...], str] = {
    (Pooling.CLS,): "CLS",
    (Pooling.MEAN,): "MEAN",
    (Pooling.LAST_TOKEN,): "LAST",
}
"""vLLM's words for the poolings that it has."""

_CLASSIFIERS = frozenset(f"{name}ForSequenceClassification" for name in ("Bert", "Roberta", "XLMRoberta"))
"""Those of vLLM's cross-encoders that are compared with CrossEncoder's scores in the tests."""


def check(spec: ModelSpec) -> None:
    """Raises ModelRefused with all that vLLM does not do, and what does."""
    if found := problems(spec):
        raise ModelRefused(
            f"vLLM cannot serve the model in {spec.directory} exactly: it {', and '.join(found)}; "
            "use --backend=huggingface, or remove --backend"
        )


def problems(spec: ModelSpec) -> list[str]:
    """What of the model vLLM does not do, each with the model as its subject."""
    problems = []
    if spec.scores is not None and spec.scores.architecture not in _CLASSIFIERS:
        problems.append(f"scores with {spec.scores.architecture} (vLLM supports {', '.join(sorted(_CLASSIFIERS))})")
    if spec.scores is not None and spec.remote_code:
        problems.append("computes scores with its own code")
    if spec.scores is None and spec.pooling not in SEQ_POOLING:
        problems.append(f"pools by {' + '.join(spec.pooling)} (vLLM supports cls, mean and lasttoken)")
    if spec.prompt and not spec.include_prompt:
        problems.append("excludes its prompt from pooling (include_prompt: false)")
    return problems
