"""Checks models with Python code (`auto_map`), which runs only with --trust_remote_code."""

import logging

from transformers import CONFIG_MAPPING

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.files import object_in

__all__ = ["check"]

_log = logging.getLogger(__name__)


def check(spec: ModelSpec) -> None:
    """Raises ModelRefused if transformers has no code for the type of the model, and the model's own may not run.

    Otherwise transformers' code is used, unless --trust_remote_code is set.
    """
    path = spec.directory / "config.json"
    config = object_in(path)
    if spec.remote_code:
        _log.warning("running Python code that came with the model in %s", spec.directory)
    elif config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        raise ModelRefused(
            f"{path} has auto_map: a model of type {config.get('model_type')!r} needs Python code that comes with it "
            "and runs with all rights of the server: review it and set --trust_remote_code=true, or use a model of a "
            "type that transformers supports"
        )
