"""Fields that vLLM's own paths ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT, PAIRS

__all__ = ["IGNORED", "IN_CLASSIFY", "IN_DETOKENIZE", "IN_POOLING", "IN_SCORE"]

IN_SCORE: Mapping[str, str] = {
    **PAIRS,
    "query": "use queries",
    "texts": "use documents",
}

IN_CLASSIFY: Mapping[str, str] = {
    **dict.fromkeys(CHAT, f"{NO_CHAT}: use input"),
    **dict.fromkeys(("inputs", "texts", "text", "prompt"), "use input"),
    "add_special_tokens": "without special tokens the classes would differ: remove the field",
    "padding": "texts are not padded: remove the field",
    "truncation_side": "texts are truncated at their end: remove the field",
    "activation": "use use_activation",
    "softmax": "use use_activation",
}

IN_POOLING: Mapping[str, str] = {
    **dict.fromkeys(CHAT, f"{NO_CHAT}: use input"),
    **dict.fromkeys(("inputs", "texts", "text", "prompt", "data"), "use input"),
    **dict.fromkeys(("normalize", "softmax", "activation"), "use use_activation"),
    "dimensions": "use POST /v1/embeddings, which supports it",
    "prompt_name": "use POST /v1/embeddings or POST /embed_all, which support it",
}

IN_DETOKENIZE: Mapping[str, str] = {
    **dict.fromkeys(("ids", "input", "inputs", "token_ids"), "use tokens"),
    "skip_special_tokens": "use POST /decode, which supports it",
}
