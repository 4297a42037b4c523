"""Fields that several APIs share: ignored in all of them, or rejected with the same hint."""

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
"""They identify the caller or control caching and scheduling; they do not change a response."""

NO_CHAT = "requests with chat messages or templates are not supported"

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
"""vLLM's fields for chat and multimodal models."""

CUT_AT_MODEL_LENGTH = "texts are truncated at the model's maximum length (max_length in /v1/models)"

PAIRS: Mapping[str, str] = {
    **dict.fromkeys(CHAT, NO_CHAT),
    "truncation": "use truncate",  # Voyage
    **dict.fromkeys(
        ("max_chunks_per_doc", "max_tokens_per_query", "max_doc_length", "max_query_length", "max_length"),
        "pairs are truncated at the model's maximum length and never split: remove the field",
    ),
    "padding": "texts are not padded: remove the field",
    "truncation_side": "the longer text of a pair is truncated at its end: remove the field",
    **dict.fromkeys(
        ("use_activation", "activation", "softmax"),
        "the model's files define how scores are computed: remove the field",
    ),
}
"""Fields that every request for scores rejects."""
