"""Which accelerator a service asks for, and so which runtime image serves it."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from embedding_operator.core.checks.resources import is_extended
from embedding_operator.core.quantity import amount
from embedding_operator.core.reasons import Reason
from embedding_operator.errors import Problem
from embedding_operator.resources.v1alpha1 import EmbeddingServiceSpec
from embedding_operator.settings import CPU, Settings

__all__ = ["check_accelerator"]


def check_accelerator(spec: EmbeddingServiceSpec, settings: Settings) -> tuple[str, list[Problem]]:
    """The accelerator's resource name; `cpu` where none is asked for.

    An image of the user's own may serve an accelerator that the settings map to no image.
    """
    asked = [
        name
        for name, value in (spec.resources.limits if spec.resources else {}).items()
        if _is_asked_for(name, value) and not _is_ignored(name, settings)
    ]
    if len(asked) > 1:
        message = f"spec.resources.limits has {' and '.join(sorted(asked))}: a service uses one kind of accelerator"
        return CPU, [Problem(Reason.INVALID_SPEC, message)]
    if not asked:
        return CPU, []
    (name,) = asked
    if name in settings.runtime_images or spec.image is not None:
        return name, []
    return CPU, [Problem(Reason.UNKNOWN_ACCELERATOR, _unknown(name, settings.runtime_images))]


def _is_asked_for(name: str, value: str) -> bool:
    if not is_extended(name):
        return False
    try:
        return amount(value) > 0
    except ValueError:
        return False  # another check says so


def _is_ignored(name: str, settings: Settings) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in settings.ignored_resources)


def _unknown(name: str, images: Mapping[str, str]) -> str:
    known = ", ".join(sorted(images.keys() - {CPU})) or "none"
    return (
        f"spec.resources.limits has {name}, and the operator has no runtime image for it (it has images for: {known}): "
        f"ask for one of those, or have an administrator set the chart's value images.runtime.{name}, or list {name} "
        "in ignoredResources if it is no accelerator"
    )
