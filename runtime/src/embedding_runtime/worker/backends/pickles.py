"""Checks for pickled weights. Loading a pickle can execute code, so it needs --allow_pickle."""

from embedding_runtime.model import Dense, ModelRefused, ModelSpec

__all__ = ["check"]

_SAFE = ("model.safetensors", "model.safetensors.index.json")
"""If one of these files exists, pickles next to it are not loaded."""

_PICKLES = ("*.bin", "*.pt")


def check(spec: ModelSpec) -> None:
    """Raises ModelRefused if the transformer or a Dense layer has pickled weights only."""
    for directory in (spec.directory, *(step.directory for step in spec.steps if isinstance(step, Dense))):
        pickles = sorted(file for pattern in _PICKLES for file in directory.glob(pattern))
        if pickles and not any((directory / name).is_file() for name in _SAFE):
            raise ModelRefused(
                f"{pickles[0]} is a pickle, which can execute code when it is loaded, and no model.safetensors is "
                "beside it: save the model with safetensors, or use --allow_pickle=true if you trust it"
            )
