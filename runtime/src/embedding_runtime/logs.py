"""Log lines of both processes: plain, on stderr, never with an input text in them."""

import logging
import sys

__all__ = ["configure"]


def configure() -> None:
    """Time, level and words; libraries speak only of trouble."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.WARNING,
        format="%(asctime)s %(levelname)-7s %(message)s",
        datefmt="%H:%M:%S",
        force=True,
    )
    logging.getLogger("embedding_runtime").setLevel(logging.INFO)
