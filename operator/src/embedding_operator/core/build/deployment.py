"""The Deployment of the desired revision."""

from collections.abc import Iterator

from embedding_operator.constants import REVISION_LABEL
from embedding_operator.core import names
from embedding_operator.core.build.base import Blueprint, Desired, marked, metadata
from embedding_operator.core.build.templates import render
from embedding_operator.kinds import DEPLOYMENT
from embedding_operator.resources.v1alpha1 import RolloutStrategy

__all__ = ["DeploymentBuilder"]


class DeploymentBuilder:
    """Yields the desired revision's Deployment where the rollout has it. Those of other revisions are not rebuilt: they
    stay as they are, scaled, until they are deleted.
    """

    kind = DEPLOYMENT

    def __call__(self, blueprint: Blueprint) -> Iterator[Desired]:
        rollout, resolved = blueprint.rollout, blueprint.service
        revision = rollout.desired
        if revision not in rollout.replicas:
            return
        # Within a revision pods are replaced one by one. None goes before its successor is ready, unless that is asked.
        recreates = resolved.rollout.strategy is RolloutStrategy.RECREATE
        deployment = {
            **render(
                "deployment.yaml.j2",
                deadline=resolved.rollout.progress_deadline_seconds,
                rolling={"maxSurge": 0, "maxUnavailable": 1} if recreates else {"maxSurge": 1, "maxUnavailable": 0},
            ),
            "metadata": metadata(
                resolved, names.deployment_name(resolved.service, revision), {REVISION_LABEL: revision}
            ),
        }
        deployment["spec"] |= {
            "replicas": rollout.replicas[revision],
            "selector": {"matchLabels": names.selector(resolved.service, revision)},
            "template": dict(blueprint.template),
        }
        yield marked(deployment)
