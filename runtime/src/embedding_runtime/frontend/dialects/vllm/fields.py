"""Fields of other servers' requests at vLLM's own paths."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT, PAIRS

__all__ = ["IGNORED", "IN_CLASSIFY", "IN_DETOKENIZE", "IN_SCORE"]

IN_SCORE: Mapping[str, str] = {
    **PAIRS,
    "query": "use queries",
    "texts": "use documents",
}

IN_CLASSIFY: Mapping[str, str] = {
    **dict.fromkeys(CHAT, f"{NO_CHAT}: send texts in input"),
    **dict.fromkeys(("inputs", "texts", "text", "prompt"), "send texts in input"),
    "add_special_tokens": "texts without them would be classified otherwise: leave it out",
    "padding": "texts are not padded: leave it out",
    "truncation_side": "texts are cut at their end: leave it out",
    "activation": "use use_activation",
    "softmax": "use use_activation",
}

IN_DETOKENIZE: Mapping[str, str] = {
    **dict.fromkeys(("ids", "input", "inputs", "token_ids"), "use tokens"),
    "skip_special_tokens": "POST /decode has it",
}
