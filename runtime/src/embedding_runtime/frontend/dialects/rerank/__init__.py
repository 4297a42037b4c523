"""Scores of pairs: rerank as Cohere, Jina and TEI have it, score as vLLM has it."""
