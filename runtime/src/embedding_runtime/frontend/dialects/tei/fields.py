"""Fields that Text Embeddings Inference's paths ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT, PAIRS
from embedding_runtime.frontend.dialects.rerank import fields as rerank

__all__ = ["IGNORED", "IN_DECODE", "IN_EMBED", "IN_PREDICT", "IN_RERANK", "IN_SIMILARITY", "IN_TOKENIZE"]

IN_EMBED: Mapping[str, str] = {
    **dict.fromkeys(("input", "texts", "text"), "use inputs"),
    "parameters": "move its fields to the top level of the request",
    **dict.fromkeys(("encoding_format", "input_type"), "use POST /v1/embeddings, which supports it"),
    **dict.fromkeys(("output_dimension", "truncate_dim"), "use dimensions"),
}

IN_TOKENIZE: Mapping[str, str] = {
    **dict.fromkeys(CHAT, f"{NO_CHAT}: use prompt"),
    **dict.fromkeys(("input", "text", "texts"), "use inputs, or prompt"),
    "prompt_name": "the model's prompts are not applied here: put the prompt before the text",
}

IN_DECODE: Mapping[str, str] = {
    **dict.fromkeys(("inputs", "input", "tokens"), "use ids"),
}

IN_RERANK: Mapping[str, str] = {
    name: instead for name, instead in rerank.REFUSED.items() if name not in ("texts", "return_text")
}

IN_PREDICT: Mapping[str, str] = {
    **PAIRS,
    **dict.fromkeys(("input", "texts", "text"), "use inputs"),
    "parameters": "move its fields to the top level of the request",
}

IN_SIMILARITY: Mapping[str, str] = {
    **dict.fromkeys(("truncate", "truncation_direction", "prompt_name"), "put it into parameters"),
    "source_sentence": "put it into inputs",
    "sentences": "put it into inputs",
}
