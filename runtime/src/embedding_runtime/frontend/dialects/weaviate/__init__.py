"""What Weaviate's text2vec-transformers asks its inference server."""
