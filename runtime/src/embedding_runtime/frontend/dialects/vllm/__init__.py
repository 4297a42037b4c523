"""vLLM's own paths: score, classify, pooling, detokenize, version."""
