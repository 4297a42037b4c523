"""Python code of models, which runs only with --trust_remote_code, and only from the model's directory."""

import logging

import huggingface_hub.constants
from transformers import CONFIG_MAPPING

from embedding_runtime.contract import MODEL_NOTE
from embedding_runtime.model import ModelSpec, remote_code
from embedding_runtime.model.files import object_in, object_or_nothing
from embedding_runtime.remote_code import CODE_DIR

__all__ = ["prepare"]

_log = logging.getLogger(__name__)


def _sources(spec: ModelSpec) -> str:
    """The commits of the repositories that the code is from, as the initializer recorded them."""
    code = object_or_nothing(spec.root / MODEL_NOTE).get("code", {})
    return "".join(f", with the code of {repository} at commit {commit}" for repository, commit in code.items())


def prepare(spec: ModelSpec) -> None:
    """Let transformers find the code of other repositories, if the model's code may run.

    Raises ModelRefused if it may not, and transformers has no code for the type of the model. Otherwise transformers'
    code is used.
    """
    path = spec.directory / "config.json"
    config = object_in(path)
    if spec.remote_code:
        # transformers looks for `owner/repository--module.Class` in the hub's cache. This is the only one that it has.
        huggingface_hub.constants.HF_HUB_CACHE = str(spec.root / CODE_DIR)
        _log.warning("running Python code that came with the model in %s%s", spec.root, _sources(spec))
    elif config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        raise remote_code.needed(spec.root, f"{path} has auto_map: a model of type {config.get('model_type')!r}")
