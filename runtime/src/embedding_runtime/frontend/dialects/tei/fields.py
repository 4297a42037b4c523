"""Fields that Text Embeddings Inference's paths ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CHAT, IGNORED, NO_CHAT, PAIRS
from embedding_runtime.frontend.dialects.rerank import fields as rerank

__all__ = [
    "HUB",
    "IGNORED",
    "IN_DECODE",
    "IN_EMBED",
    "IN_EMBED_ALL",
    "IN_EMBED_SPARSE",
    "IN_PREDICT",
    "IN_RERANK",
    "IN_SIMILARITY",
    "IN_TOKENIZE",
]

HUB = frozenset({"options"})
"""From the Hugging Face inference API: whether to wait for a model."""

_INPUTS = {
    **dict.fromkeys(("input", "texts", "text"), "use inputs"),
    "parameters": "move its fields to the top level of the request",
    "input_type": "use prompt_name",
}

IN_EMBED: Mapping[str, str] = {
    **dict.fromkeys(("input", "texts", "text"), "use inputs"),
    "parameters": "move its fields to the top level of the request",
    **dict.fromkeys(("encoding_format", "input_type"), "use POST /v1/embeddings, which supports it"),
    **dict.fromkeys(("output_dimension", "truncate_dim"), "use dimensions"),
}

_SIZES = ("dimensions", "output_dimension", "truncate_dim")
_ENCODINGS = ("encoding_format", "embed_dtype")

IN_EMBED_SPARSE: Mapping[str, str] = {
    **_INPUTS,
    **dict.fromkeys(_SIZES, "a sparse vector cannot be truncated: remove the field"),
    **dict.fromkeys(_ENCODINGS, "a sparse vector is a list of objects with index and value: remove the field"),
    "normalize": "the numbers of a sparse vector are not scaled: remove the field",
    "max_active_dims": "the model's files say how many numbers a sparse vector keeps: remove the field",
}

IN_EMBED_ALL: Mapping[str, str] = {
    **_INPUTS,
    **dict.fromkeys(_SIZES, "vectors of tokens cannot be truncated: remove the field"),
    **dict.fromkeys(_ENCODINGS, "use POST /pooling with the task token_embed, which supports it"),
    "normalize": "use use_activation of POST /pooling with the task token_embed",
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
    "instruction": "use POST /rerank, which supports it",
    **dict.fromkeys(("input", "texts", "text"), "use inputs"),
    "parameters": "move its fields to the top level of the request",
}

IN_SIMILARITY: Mapping[str, str] = {
    **dict.fromkeys(("truncate", "truncation_direction", "prompt_name"), "put it into parameters"),
    "source_sentence": "put it into inputs",
    "sentences": "put it into inputs",
}
