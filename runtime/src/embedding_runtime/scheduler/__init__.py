"""The request queue: admission, fairness, batching, and the worker that computes the batches."""
