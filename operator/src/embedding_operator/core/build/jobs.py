"""The Job of a service that finds its model, while there is one."""

from collections.abc import Iterator

from embedding_operator.core.build.base import Blueprint, Desired
from embedding_operator.kinds import JOB

__all__ = ["JobBuilder"]


class JobBuilder:
    """Yields the Job that `model_source` wants."""

    kind = JOB

    def __call__(self, blueprint: Blueprint) -> Iterator[Desired]:
        if blueprint.job is not None:
            yield blueprint.job
