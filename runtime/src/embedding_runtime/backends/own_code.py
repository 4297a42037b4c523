"""Models that bring Python code of their own (`auto_map`): it is never run."""

from transformers import CONFIG_MAPPING

from embedding_runtime.modelspec import ModelRefused, ModelSpec
from embedding_runtime.modelspec.files import object_in

__all__ = ["check"]


def check(spec: ModelSpec) -> None:
    """Raises ModelRefused for a kind of model that transformers has no code for. Where it has, that is what is run."""
    path = spec.directory / "config.json"
    config = object_in(path)
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelRefused(
            f"{path} has auto_map: a model of type {config.get('model_type')!r} needs Python code that comes with it, "
            "which is not run here (there is no --trust_remote_code): choose a model of a type that transformers has"
        )
