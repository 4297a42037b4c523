"""Fields of other servers' requests at `/v1/embeddings`, which Jina, Voyage, vLLM and others have, too."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT

__all__ = ["IGNORED", "REFUSED"]

_DENSE = "this server gives one dense vector a text"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(CHAT, f"{NO_CHAT}: send texts in input"),
    **dict.fromkeys(("inputs", "texts", "text", "prompt", "data"), "send texts in input"),
    **dict.fromkeys(("images", "image"), "only texts have vectors here: send them in input"),
    **dict.fromkeys(("output_dimension", "truncate_dim"), "use dimensions"),  # Cohere and Voyage; sentence-transformers
    **dict.fromkeys(("normalized", "use_activation", "normalize_embeddings"), "use normalize"),  # Jina; vLLM; others
    **dict.fromkeys(("task", "task_type"), "use input_type or prompt_name"),  # Jina; Google
    **dict.fromkeys(("instruction", "prompt_template"), "use prompt_name, or write it before each text"),
    "embedding_types": "use encoding_format, or embedding_types of POST /v2/embed",  # Cohere
    "output_dtype": "use encoding_format, or embedding_types of POST /v2/embed",  # Voyage
    "embedding_type": "use encoding_format, or embedding_types of POST /v2/embed for several",
    "embed_dtype": "it goes with encoding_format base64, bytes or bytes_only",
    "endianness": "it goes with encoding_format base64, bytes or bytes_only",
    **dict.fromkeys(("truncation", "truncate_text"), "use truncate"),  # Voyage; LlamaIndex
    **dict.fromkeys(("max_length", "max_tokens"), "use truncate_prompt_tokens"),
    "late_chunking": "each text has a vector of its own: leave it out",
    "padding": "texts are not padded: leave it out",
    **dict.fromkeys(("pooling", "pooling_type"), "the model's own files say how it pools: leave it out"),
    **dict.fromkeys(("return_multivector", "return_dense", "return_sparse", "return_colbert_vecs"), _DENSE),
}
