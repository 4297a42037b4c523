"""LogitScore after another library's pooling: the logits of one or two tokens, from rows of the language model head."""

import torch
from safetensors import safe_open
from torch import Tensor

from embedding_runtime.model import ModelRefused, ModelSpec, ScoreTokens
from embedding_runtime.model.files import object_in
from embedding_runtime.worker.backends.scoring import token_ids

__all__ = ["TokenScores"]


class TokenScores:
    """The step from the last token's hidden state to the score: (pairs, hidden) -> (pairs, 1), in float32.

    It knows neither biases nor caps of logits; the self test compares it with the whole model.
    """

    def __init__(self, spec: ModelSpec, tokens: ScoreTokens) -> None:
        """Raises ModelRefused."""
        true, false = token_ids(tokens, spec)
        weights = _rows(spec, [true] if false is None else [true, false])
        self._weights = weights.to(getattr(torch, spec.dtype)).float()
        self._subtracts = false is not None

    def __call__(self, hidden: Tensor) -> Tensor:
        logits = hidden @ self._weights.T
        return logits[:, :1] - logits[:, 1:] if self._subtracts else logits


def _rows(spec: ModelSpec, ids: list[int]) -> Tensor:
    """Rows of the head, which may be the embeddings of the tokens: (ids, hidden)."""
    tied = object_in(spec.directory / "config.json").get("tie_word_embeddings", True)
    names = ("lm_head.weight", *(("model.embed_tokens.weight",) if tied else ()))
    for name in names:
        for file in sorted(spec.directory.glob("*.safetensors")):
            with safe_open(file, "pt") as opened:
                if name in opened.keys():  # noqa: SIM118 it is no mapping
                    weights = opened.get_slice(name)
                    return torch.cat([weights[id_ : id_ + 1] for id_ in ids])
    raise ModelRefused(f"no .safetensors file in {spec.directory} has {' or '.join(names)}, which LogitScore reads")
