"""Scores and rankings of pairs of texts, and label probabilities of texts or pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedding_runtime.errors import BadRequest, UnsupportedTask
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model import Problem
from embedding_runtime.protocol.rows import VectorRows

__all__ = ["PairScores", "label", "probabilities", "score_pairs", "truncates_pairs"]


@dataclass(frozen=True)
class PairScores:
    """Scores of the pairs of one request."""

    values: npt.NDArray[np.float32]
    """One score per pair, in their order."""
    tokens: int

    @property
    def usage(self) -> dict[str, Any]:
        """Usage as in OpenAI's API."""
        return {"prompt_tokens": self.tokens, "total_tokens": self.tokens}

    def best_first(self) -> list[int]:
        """Indices of the pairs by descending score; ties keep their order."""
        order: list[int] = np.argsort(-self.values, kind="stable").tolist()
        return order


async def score_pairs(
    service: Service,
    context: RequestContext,
    pairs: Sequence[tuple[str, str]],
    *,
    truncate: bool | None,
    field: str,
    instruction: str | None = None,
    operation: str = "rerank",
    raw: bool = False,
) -> PairScores:
    """Score pairs; `truncate`, `instruction` and `raw` as in `Service.scores`.

    Raises UnsupportedTask for a model without exactly one score per pair.
    """
    scores = service.spec.scores
    if scores is not None and scores.labels != 1:
        raise UnsupportedTask(
            f"{service.name} has {scores.labels} labels, so a pair has no single score: use POST /predict (TEI) for "
            "the labels of pairs and texts, or POST /classify (vLLM) for those of texts"
        )
    rows, tokens = await service.scores(
        context, pairs, operation=operation, truncate=truncate, field=field, instruction=instruction, raw=raw
    )
    return PairScores(rows[:, 0], tokens)


def truncates_pairs(*, truncate: bool | None, keep_tokens: int | None, default: bool | None = None) -> bool | None:
    """Combine `truncate` with vLLM's truncate_prompt_tokens (`keep_tokens`), for `score_pairs`. Raises BadRequest."""
    if truncate is False and keep_tokens is not None:
        message = "truncate=false contradicts truncate_prompt_tokens, which enables truncation: remove one of them"
        raise BadRequest(message, param="truncate")
    if keep_tokens is not None:
        return True
    return default if truncate is None else truncate


async def probabilities(
    service: Service,
    context: RequestContext,
    inputs: Sequence[str | tuple[str, str]],
    *,
    truncate: bool | None,
    raw: bool,
    field: str,
) -> tuple[VectorRows, int]:
    """Return a row per text or pair with a number per label, and the number of tokens.

    As in transformers' pipeline and vLLM: softmax if one of several labels applies, else a sigmoid of each label, and
    logits of a regression (see Problem). An activation in the model's files replaces them. `raw`: return logits.

    Raises as `Service.scores` does.
    """
    rows, tokens = await service.scores(context, inputs, operation="classify", truncate=truncate, field=field, raw=raw)
    scores = service.spec.scores
    if raw or scores is None or not scores.are_logits or scores.problem is Problem.REGRESSION:
        return rows, tokens
    independent = scores.labels == 1 or scores.problem is Problem.MULTI_LABEL
    return _sigmoid(rows) if independent else _softmax(rows), tokens


def label(service: Service, place: int) -> str:
    """The label of a column of `probabilities`."""
    return f"LABEL_{place}" if service.spec.scores is None else service.spec.scores.name(place)


def _sigmoid(rows: VectorRows) -> VectorRows:
    return np.asarray(1 / (1 + np.exp(-rows.astype(np.float64))), dtype=np.float32)


def _softmax(rows: VectorRows) -> VectorRows:
    raised = np.exp(rows.astype(np.float64) - rows.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)
