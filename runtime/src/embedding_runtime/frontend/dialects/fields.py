"""Fields that several APIs share: ignored in all of them, or refused with the same advice."""

from collections.abc import Mapping

__all__ = ["CHAT", "CUT_AT_MODEL_LENGTH", "IGNORED", "NO_CHAT", "PAIRS"]

IGNORED = frozenset(
    {
        "cache_salt",  # vLLM
        "metadata",  # OpenAI, gateways
        "prompt_cache_key",  # OpenAI
        "request_id",  # vLLM
        "safety_identifier",  # OpenAI
        "service_tier",  # OpenAI
        "store",  # OpenAI
        "user",  # OpenAI
    }
)
"""They say who asks, or in which order answers are computed, never what an answer is."""

NO_CHAT = "no chat template is applied"

CHAT = (
    "messages",
    "chat_template",
    "chat_template_kwargs",
    "add_generation_prompt",
    "continue_final_message",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "tools",
)
"""vLLM's, for models that chat or see."""

CUT_AT_MODEL_LENGTH = "texts are cut at the model's own length (max_length in /v1/models)"

PAIRS: Mapping[str, str] = {
    **dict.fromkeys(CHAT, NO_CHAT),
    "instruction": "write it into the query",
    "truncation": "use truncate",  # Voyage
    **dict.fromkeys(
        ("max_chunks_per_doc", "max_tokens_per_query", "max_doc_length", "max_query_length", "max_length"),
        "pairs are cut at the model's own length and never split: leave it out",
    ),
    "padding": "texts are not padded: leave it out",
    "truncation_side": "the longer text of a pair is cut, at its end: leave it out",
    **dict.fromkeys(
        ("use_activation", "activation", "softmax"), "scores are as the model's own files say: leave it out"
    ),
}
"""Refused by all that score pairs of texts."""
