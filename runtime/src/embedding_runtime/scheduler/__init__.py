"""The request queue: admission, fairness, batching, and dispatch to the workers."""
