"""The command line: `embedding-operator run`, `local`, `check`, `render`, `crds`; a module each."""

__all__: list[str] = []
