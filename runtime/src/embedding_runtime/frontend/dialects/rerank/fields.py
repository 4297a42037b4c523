"""Fields that requests for a ranking ignore or reject."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import IGNORED, PAIRS

__all__ = ["IGNORED", "REFUSED"]

REFUSED: Mapping[str, str] = {
    **PAIRS,
    **dict.fromkeys(("top_k", "topk"), "use top_n"),  # Voyage
    "rank_fields": "documents are ranked by their text only: put every relevant field into the text",
    "overlap_tokens": "documents are not split: remove the field",
    "return_embeddings": "a cross-encoder has no embeddings: remove the field",
    "relevant_spans": "documents are ranked as a whole: remove the field",  # Cohere
    "texts": "use documents",
    "return_text": "use return_documents",
    "raw_scores": "the model's files define how scores are computed: remove the field",
}
