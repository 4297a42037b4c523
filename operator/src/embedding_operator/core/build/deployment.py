"""The Deployment of the desired revision."""

from collections.abc import Iterator

from embedding_operator.constants import MODEL_ANNOTATION, REVISION_LABEL
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
        deployment = {
            **render(
                "deployment.yaml.j2",
                deadline=resolved.rollout.progress_deadline_seconds,
                rolling=_rolling(blueprint),
            ),
            "metadata": metadata(
                resolved, names.deployment_name(resolved.service, revision), {REVISION_LABEL: revision}
            ),
        }
        if resolved.pin is not None:
            deployment["metadata"]["annotations"] = {MODEL_ANNOTATION: str(resolved.pin)}
        deployment["spec"] |= {
            "replicas": rollout.replicas[revision],
            "selector": {"matchLabels": names.selector(resolved.service, revision)},
            "template": dict(blueprint.template),
        }
        yield marked(deployment)


def _rolling(blueprint: Blueprint) -> dict[str, int | str]:
    """Within a revision, pods are replaced one by one: each is removed when its successor is ready. Failed pods are
    removed first where no node has room for both, and so is every pod if the strategy is Recreate.
    """
    if blueprint.service.rollout.strategy is RolloutStrategy.RECREATE:
        return {"maxSurge": 0, "maxUnavailable": 1}
    return {"maxSurge": 1, "maxUnavailable": "100%" if blueprint.rollout.replaces_failed_pods else 0}
