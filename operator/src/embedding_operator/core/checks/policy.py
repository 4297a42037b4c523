"""What the administrator's policy forbids."""

from embedding_operator.core import storage
from embedding_operator.core.checks.problems import quoted
from embedding_operator.core.reasons import Reason
from embedding_operator.errors import Problem
from embedding_operator.settings import Settings

__all__ = ["check_image", "check_storage_image"]


def check_image(image: str | None, settings: Settings) -> list[Problem]:
    """The image that a service names: it gets the model and the service's API keys."""
    return _check("spec.image", image, settings)


def check_storage_image(fetcher: storage.Fetcher, settings: Settings) -> list[Problem]:
    """The image of a namespaced storage container. Cluster-wide ones are the administrator's own."""
    image = fetcher.container.image if fetcher.kind == "StorageContainer" else None
    return _check(f"{fetcher}: spec.container.image", image, settings)


def _check(field: str, image: str | None, settings: Settings) -> list[Problem]:
    own = {settings.storage_image, *settings.runtime_images.values()}
    if image is None or image in own or settings.policy.allows_image(image):
        return []
    allowed = ", ".join(settings.policy.images) or "none but the operator's own"
    message = (
        f"{field} {quoted(image)} is not allowed (allowed: {allowed}): leave it out, or have an administrator add it "
        "to the chart's value policy.images"
    )
    return [Problem(Reason.POLICY_VIOLATION, message)]
