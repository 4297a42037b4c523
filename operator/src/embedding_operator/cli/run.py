"""`embedding-operator run`: the operator as a process, until SIGTERM or SIGINT."""

from embedding_operator.settings import Settings
from embedding_operator.shell import run

__all__ = ["main"]


def main(settings: Settings) -> int:
    """The exit code."""
    return run.main(settings)
