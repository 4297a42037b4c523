"""The objects that a service is made of: one builder a kind. A new kind of child is a module here and a line below."""

from collections.abc import Sequence

from embedding_operator.core.build.base import Blueprint, Builder, Desired
from embedding_operator.core.build.claim import ClaimBuilder, claim_of
from embedding_operator.core.build.deployment import DeploymentBuilder
from embedding_operator.core.build.disruption import DisruptionBuilder
from embedding_operator.core.build.jobs import JobBuilder
from embedding_operator.core.build.service import ServiceBuilder

__all__ = ["BUILDERS", "Blueprint", "Builder", "Desired", "build", "claim_of"]

BUILDERS: Sequence[Builder] = (
    ClaimBuilder(),
    JobBuilder(),
    DeploymentBuilder(),
    ServiceBuilder(),
    DisruptionBuilder(),
)
"""In the order of writing, but for what `writes` puts last: a volume comes first, pods start before the Service selects
them, and a budget protects pods that exist."""


def build(blueprint: Blueprint) -> list[Desired]:
    """All objects that are wanted, complete. Raises RenderFailed, which is a bug."""
    return [desired for builder in BUILDERS for desired in builder(blueprint)]
