"""The API of Weaviate's text2vec-transformers."""
