"""The initializer, which downloads a model: `python -m embedding_runtime.storage URI DIRECTORY`.

It shares only the contract with the server, and can be installed without it (the extra `storage`).
"""

__all__: list[str] = []
