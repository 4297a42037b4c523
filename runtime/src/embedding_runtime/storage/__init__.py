"""Fetches a model's files into a directory: `python -m embedding_runtime.storage URI DIRECTORY`, the initializer.

It shares nothing with the server but the contract, and is installed without it (the extra `storage`).
"""

__all__: list[str] = []
