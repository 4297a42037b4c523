"""The command line: `embedding-operator run`, `local`, `render`, `crds`; a module each."""

__all__: list[str] = []
