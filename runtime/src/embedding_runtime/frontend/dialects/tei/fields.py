"""Fields that Text Embeddings Inference's paths ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT, PAIRS

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
    **PAIRS,
    **dict.fromkeys(("top_k", "topk"), "use top_n"),  # Voyage
    "rank_fields": "documents are ranked by their text only: put every relevant field into the text",
    "overlap_tokens": "documents are not split: remove the field",
    "return_embeddings": "a cross-encoder has no embeddings: remove the field",
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
