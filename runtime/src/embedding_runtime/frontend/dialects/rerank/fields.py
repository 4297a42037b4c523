"""Fields of other servers' requests for a ranking."""

from collections.abc import Mapping

from embedding_runtime.frontend.dialects.fields import IGNORED, PAIRS

__all__ = ["IGNORED", "REFUSED"]

REFUSED: Mapping[str, str] = {
    **PAIRS,
    **dict.fromkeys(("top_k", "topk"), "use top_n"),  # Voyage
    "rank_fields": "a document is ranked by its text: put all that counts there",
    "overlap_tokens": "documents are not split: leave it out",
    "return_embeddings": "a cross-encoder has none: leave it out",
    "relevant_spans": "documents are ranked whole: leave it out",  # Cohere
    "texts": "use documents",
    "return_text": "use return_documents",
    "raw_scores": "scores are as the model's own files say: leave it out",
}
