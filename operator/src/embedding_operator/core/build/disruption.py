"""The PodDisruptionBudget of a service with two replicas or more: a drain of nodes takes one pod at a time."""

from collections.abc import Iterator

from embedding_operator.core import names
from embedding_operator.core.build.base import Blueprint, Desired, marked, metadata
from embedding_operator.core.build.templates import render
from embedding_operator.kinds import POD_DISRUPTION_BUDGET

__all__ = ["DisruptionBuilder"]


class DisruptionBuilder:
    """Yields a budget over the serving revision's pods where there are two or more: one over a single pod would only
    keep its node from being drained.
    """

    kind = POD_DISRUPTION_BUDGET

    def __call__(self, blueprint: Blueprint) -> Iterator[Desired]:
        resolved, rollout = blueprint.service, blueprint.rollout
        if rollout.replicas.get(rollout.serving, 0) > 1:
            budget = {**render("disruption.yaml.j2"), "metadata": metadata(resolved)}
            budget["spec"]["selector"] = {"matchLabels": names.selector(resolved.service, rollout.serving)}
            yield marked(budget)
