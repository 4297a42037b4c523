"""OpenAI's embeddings and models."""
