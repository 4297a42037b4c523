"""Fields that `/v1/embeddings` ignores or rejects: those of Jina, Voyage, vLLM and others that share this path."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT

__all__ = ["IGNORED", "REFUSED"]

_OUTPUT = "use output, which lists the outputs: dense, sparse, colbert"

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(CHAT, f"{NO_CHAT}: use input"),
    **dict.fromkeys(("inputs", "texts", "text", "prompt", "data"), "use input"),
    **dict.fromkeys(("images", "image"), "only texts can be embedded: use input"),
    **dict.fromkeys(("output_dimension", "truncate_dim"), "use dimensions"),  # Cohere and Voyage; sentence-transformers
    **dict.fromkeys(("normalized", "use_activation", "normalize_embeddings"), "use normalize"),  # Jina; vLLM; others
    **dict.fromkeys(("task", "task_type"), "use input_type or prompt_name"),  # Jina; Google
    **dict.fromkeys(("instruction", "prompt_template"), "use prompt_name, or put the instruction before each text"),
    "embedding_types": "use encoding_format, or embedding_types of POST /v2/embed",  # Cohere
    "output_dtype": "use encoding_format, or embedding_types of POST /v2/embed",  # Voyage
    "embedding_type": "use encoding_format, or embedding_types of POST /v2/embed for several types",
    "embed_dtype": "use it with encoding_format base64, bytes or bytes_only",
    "endianness": "use it with encoding_format base64, bytes or bytes_only",
    **dict.fromkeys(("truncation", "truncate_text"), "use truncate"),  # Voyage; LlamaIndex
    **dict.fromkeys(("max_length", "max_tokens"), "use truncate_prompt_tokens"),
    "late_chunking": "each text is embedded separately: remove the field",
    "padding": "texts are not padded: remove the field",
    **dict.fromkeys(("pooling", "pooling_type"), "the model's files define the pooling: remove the field"),
    **dict.fromkeys(("return_dense", "return_sparse", "return_colbert_vecs"), _OUTPUT),  # FlagEmbedding
    "output_type": _OUTPUT,  # DashScope
    "return_multivector": 'use output: ["colbert"], or POST /embed_all for vectors of tokens before pooling',  # Jina
}
