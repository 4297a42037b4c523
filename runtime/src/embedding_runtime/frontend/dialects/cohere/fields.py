"""Fields of other servers' requests at Cohere's `/v1/embed` and `/v2/embed`."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CUT_AT_MODEL_LENGTH, IGNORED

__all__ = ["IGNORED", "REFUSED_V1", "REFUSED_V2"]

_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("images", "image"), "only texts have vectors here: send them in texts"),
    **dict.fromkeys(("input", "text"), "use texts"),
    "encoding_format": "use embedding_types",
    "max_tokens": f"{CUT_AT_MODEL_LENGTH}: leave it out, or use truncate_prompt_tokens of POST /v1/embeddings",
    **dict.fromkeys(("normalize", "prompt_name", "truncate_prompt_tokens"), "POST /v1/embeddings has it"),
    "compress": "answers are not compressed: leave it out",
    "compression_codebook": "answers are not compressed: leave it out",
    "dataset_id": "send the texts themselves in texts",
}
REFUSED_V1: Mapping[str, str] = {
    **_REFUSED,
    **dict.fromkeys(("output_dimension", "dimensions"), "use output_dimension of POST /v2/embed"),
    "inputs": "use texts, or POST /v2/embed",
}
REFUSED_V2: Mapping[str, str] = {**_REFUSED, "dimensions": "use output_dimension"}
