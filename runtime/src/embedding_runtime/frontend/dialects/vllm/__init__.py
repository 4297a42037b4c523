"""vLLM's own paths: score, classify, detokenize, version."""
