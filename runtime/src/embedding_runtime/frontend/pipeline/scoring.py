"""Pairs of texts to scores and rankings; texts or pairs to the probabilities of a classifier's labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedding_runtime.errors import BadRequest, UnsupportedTask
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.protocol.messages import VectorRows

__all__ = ["PairScores", "cuts_pairs", "label", "probabilities", "score_pairs"]


@dataclass(frozen=True)
class PairScores:
    """Of the pairs of one request."""

    values: npt.NDArray[np.float32]
    """One a pair, in their order."""
    tokens: int

    @property
    def usage(self) -> dict[str, Any]:
        """As OpenAI has it."""
        return {"prompt_tokens": self.tokens, "total_tokens": self.tokens}

    def best_first(self) -> list[int]:
        """Places of the pairs; of equal ones the first comes first."""
        order: list[int] = np.argsort(-self.values, kind="stable").tolist()
        return order


async def score_pairs(
    service: Service,
    context: RequestContext,
    pairs: Sequence[tuple[str, str]],
    *,
    truncate: bool,
    field: str,
    operation: str = "rerank",
) -> PairScores:
    """Raises UnsupportedTask for a model that gives a pair no score, or several."""
    scores = service.spec.scores
    if scores is not None and scores.labels != 1:
        raise UnsupportedTask(
            f"{service.name} gives a pair {scores.labels} scores, of which none ranks: they are at POST /predict and "
            f"POST /v2/models/{service.name}/infer"
        )
    rows, tokens = await service.scores(context, pairs, operation=operation, truncate=truncate, field=field)
    return PairScores(rows[:, 0], tokens)


def cuts_pairs(*, truncate: bool | None, keep_tokens: int | None, default: bool = False) -> bool:
    """Whether pairs that are too long are cut. `keep_tokens`: vLLM's truncate_prompt_tokens. Raises BadRequest."""
    if truncate is False and keep_tokens is not None:
        message = "truncate: says that nothing is cut, and truncate_prompt_tokens to how much: leave one out"
        raise BadRequest(message, param="truncate")
    return keep_tokens is not None or (default if truncate is None else truncate)


async def probabilities(
    service: Service,
    context: RequestContext,
    inputs: Sequence[str | tuple[str, str]],
    *,
    truncate: bool,
    raw: bool,
    field: str,
) -> tuple[VectorRows, int]:
    """A row for each text or pair, a number a label, and how many tokens that took.

    As TEI and vLLM have it: softmax over several labels, a sigmoid for one, where the model's own files name no
    activation. `raw`: the logits. Raises BadRequest where they are not at hand, and what `Service.scores` does.
    """
    scores = service.spec.scores
    activation = "" if scores is None else scores.activation.rpartition(".")[2]
    if raw and scores is not None and activation != _NONE:
        message = f"the model's own files put its scores through {activation}: leave this out"
        raise BadRequest(f"raw scores: {message}", param=field)
    rows, tokens = await service.scores(context, inputs, operation="classify", truncate=truncate, field=field)
    if raw or activation != _NONE:
        return rows, tokens
    return _sigmoid(rows) if rows.shape[1] == 1 else _softmax(rows), tokens


def label(service: Service, place: int) -> str:
    """The name of a column of `probabilities`."""
    return f"LABEL_{place}" if service.spec.scores is None else service.spec.scores.name(place)


_NONE = "Identity"


def _sigmoid(rows: VectorRows) -> VectorRows:
    return np.asarray(1 / (1 + np.exp(-rows.astype(np.float64))), dtype=np.float32)


def _softmax(rows: VectorRows) -> VectorRows:
    raised = np.exp(rows.astype(np.float64) - rows.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
