"""Refusals of models that a library cannot load."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.files import is_of_library

__all__ = ["refused"]


@contextmanager
def refused(spec: ModelSpec, what: str) -> Iterator[None]:
    """Turn what a library raises about the files of a model into ModelRefused, whose message begins with `what`.

    Files can be damaged in any way, and libraries raise whatever comes up, mostly without the name of the file. What is
    not about them stays: a lack of memory, and errors of the model's own code, whose author needs the traceback.
    """
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except BaseException as error:
        if not is_of_library(error):
            raise
        usual = isinstance(error, ImportError | OSError | ValueError)  # missing or invalid files
        if spec.remote_code and not usual:
            raise
        words = " ".join(str(error).split())
        raise ModelRefused(f"{what}: {words}" if usual else f"{what}: {type(error).__name__}: {words}") from error
