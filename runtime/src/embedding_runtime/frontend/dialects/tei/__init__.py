"""Text Embeddings Inference's paths."""
