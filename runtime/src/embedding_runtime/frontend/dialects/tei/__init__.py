"""Text Embeddings Inference's routes."""
