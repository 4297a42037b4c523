"""Fields that other servers have: those that are harmless here, and what to use instead of the others.

Each table names fields that would change the answer and are not supported. A field that is in no table and in no
schema is refused, too, with the nearest name that there is.
"""

from collections.abc import Mapping

__all__ = [
    "HARMLESS",
    "IN_COHERE_V1",
    "IN_COHERE_V2",
    "IN_EMBEDDINGS",
    "IN_PREDICT",
    "IN_RERANK",
    "IN_SCORE",
    "IN_TEI",
    "IN_TOKENIZE",
]

HARMLESS = frozenset(
    {
        "cache_salt",  # vLLM
        "metadata",  # OpenAI, gateways
        "priority",  # vLLM, Cohere
        "prompt_cache_key",  # OpenAI
        "request_id",  # vLLM
        "safety_identifier",  # OpenAI
        "service_tier",  # OpenAI
        "store",  # OpenAI
        "user",  # OpenAI
    }
)
"""Of all APIs: they tell who asks, or in which order answers are computed, never what an answer is."""

_OWN_LENGTH = "texts are cut at the model's own length (see max_length in /v1/models)"
_NO_CHAT = "no chat template is applied"
_DENSE = "this server gives one dense vector a text"

_CHAT = dict.fromkeys(
    (
        "messages",
        "chat_template",
        "chat_template_kwargs",
        "add_generation_prompt",
        "continue_final_message",
        "media_io_kwargs",
        "mm_processor_kwargs",
    ),
    _NO_CHAT,
)
"""vLLM's, for models that chat or see."""

IN_EMBEDDINGS: Mapping[str, str] = {
    **dict.fromkeys(_CHAT, f"{_NO_CHAT}: send texts in input"),
    **dict.fromkeys(("inputs", "texts", "text", "prompt"), "send texts in input"),
    **dict.fromkeys(("images", "image"), "only texts have vectors here: send them in input"),
    **dict.fromkeys(("output_dimension", "truncate_dim"), "use dimensions"),  # Cohere and Voyage; sentence-transformers
    **dict.fromkeys(("normalized", "use_activation", "normalize_embeddings"), "use normalize"),  # Jina; vLLM; others
    **dict.fromkeys(("task", "task_type"), "use input_type or prompt_name"),  # Jina; Google
    **dict.fromkeys(("instruction", "prompt_template"), "use prompt_name, or write it before each text"),
    **dict.fromkeys(("embedding_types", "output_dtype"), "use encoding_format: float or base64"),  # Cohere; Voyage
    "embedding_type": "use encoding_format: float or base64",
    "embed_dtype": "base64 is made of float32: decode that",
    "endianness": "base64 is little-endian: decode that",
    **dict.fromkeys(("truncation", "truncate_text"), "use truncate"),  # Voyage; LlamaIndex
    **dict.fromkeys(("max_length", "max_tokens"), "use truncate_prompt_tokens"),
    "late_chunking": "each text has a vector of its own: leave it out",
    "padding": "texts are not padded: leave it out",
    **dict.fromkeys(("pooling", "pooling_type"), "the model's own files say how it pools: leave it out"),
    **dict.fromkeys(("return_multivector", "return_dense", "return_sparse", "return_colbert_vecs"), _DENSE),
}

_COHERE: Mapping[str, str] = {
    **dict.fromkeys(("images", "image"), "only texts have vectors here: send them in texts"),
    **dict.fromkeys(("input", "text"), "use texts"),
    "encoding_format": "use embedding_types",
    "max_tokens": f"{_OWN_LENGTH}: leave it out, or use truncate_prompt_tokens of POST /v1/embeddings",
    **dict.fromkeys(("normalize", "prompt_name", "truncate_prompt_tokens"), "POST /v1/embeddings has it"),
}
IN_COHERE_V1: Mapping[str, str] = {
    **_COHERE,
    **dict.fromkeys(("output_dimension", "dimensions"), "use output_dimension of POST /v2/embed"),
}
IN_COHERE_V2: Mapping[str, str] = {**_COHERE, "dimensions": "use output_dimension"}

IN_TEI: Mapping[str, str] = {
    **dict.fromkeys(("input", "texts", "text"), "use inputs"),
    "parameters": "write its fields beside inputs",
    **dict.fromkeys(("encoding_format", "input_type"), "POST /v1/embeddings has it"),
    **dict.fromkeys(("output_dimension", "truncate_dim"), "use dimensions"),
}

IN_TOKENIZE: Mapping[str, str] = {
    **dict.fromkeys(_CHAT, f"{_NO_CHAT}: send the text in prompt"),
    **dict.fromkeys(("input", "text", "texts"), "use inputs, or prompt"),
    "prompt_name": "no prompt of the model is put before the texts: write it before them",
}

_PAIRS: Mapping[str, str] = {
    **dict.fromkeys(_CHAT, _NO_CHAT),
    "instruction": "write it into the query",
    "truncation": "use truncate",  # Voyage
    **dict.fromkeys(
        ("max_chunks_per_doc", "max_tokens_per_query", "max_doc_length", "max_query_length", "max_length"),
        "pairs are cut at the model's own length, and not split: leave it out",
    ),
    "padding": "texts are not padded: leave it out",
    "truncation_side": "the longer text of a pair is cut, at its end: leave it out",
    **dict.fromkeys(("use_activation", "activation"), "scores are as the model's own files say: leave it out"),
}
IN_RERANK: Mapping[str, str] = {
    **_PAIRS,
    **dict.fromkeys(("top_k", "topk"), "use top_n"),  # Voyage
    "rank_fields": "a document is ranked by its text: put all that counts there",
    "overlap_tokens": "documents are not split: leave it out",
    "return_embeddings": "a cross-encoder has none: leave it out",
}
IN_SCORE: Mapping[str, str] = {
    **_PAIRS,
    "data_1": "use text_1",
    "data_2": "use text_2",
    "items": "use documents",
    "query": "use queries",
}

IN_PREDICT: Mapping[str, str] = {
    "inputs": "use instances",
    "parameters": "Open Inference V1 has none here: POST /v1/embeddings has dimensions, truncate and others",
}
