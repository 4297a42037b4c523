"""Fields that `/v1/embed` and `/v2/embed` ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import CUT_AT_MODEL_LENGTH, IGNORED

__all__ = ["IGNORED", "REFUSED_V1", "REFUSED_V2"]

_REFUSED: Mapping[str, str] = {
    **dict.fromkeys(("images", "image"), "only texts can be embedded: use texts"),
    **dict.fromkeys(("input", "text"), "use texts"),
    "encoding_format": "use embedding_types",
    "max_tokens": f"{CUT_AT_MODEL_LENGTH}: remove the field, or use truncate_prompt_tokens of POST /v1/embeddings",
    **dict.fromkeys(
        ("normalize", "prompt_name", "truncate_prompt_tokens"), "use POST /v1/embeddings, which supports it"
    ),
    "compress": "responses are not compressed: remove the field",
    "compression_codebook": "responses are not compressed: remove the field",
    "dataset_id": "datasets are not supported: send the texts in texts",
}
REFUSED_V1: Mapping[str, str] = {
    **_REFUSED,
    **dict.fromkeys(("output_dimension", "dimensions"), "use output_dimension of POST /v2/embed"),
    "inputs": "use texts, or POST /v2/embed",
}
REFUSED_V2: Mapping[str, str] = {**_REFUSED, "dimensions": "use output_dimension"}
