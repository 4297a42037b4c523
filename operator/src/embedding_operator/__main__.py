"""`python -m embedding_operator`: see `embedding_operator.cli.main`."""

import sys

from embedding_operator.cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
