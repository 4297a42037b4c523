"""Importing transformers, and loading a model, without what no embedding model uses: more than half of the time.

Its generation, training and image code brings torch's compiler, torch.distributed, scikit-learn, SciPy and
Pillow along, where they are installed; so does torch itself when it makes the first layer's weights. Nothing here
compiles, and one process computes. Figures: docs/performance.md.
"""

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["KNOWN", "light_imports"]

_log = logging.getLogger(__name__)

KNOWN = {"torch": "2.13", "transformers": "5"}
"""Versions whose imports are known to do without: what they import is their own business, and changes unannounced."""

_OPTIONAL = ("PIL", "scipy", "sklearn")
"""transformers asks whether they are installed, and does without."""

_COMPILER = "torch._dynamo"
_VMAP = f"{_COMPILER}._trace_wrapped_higher_order_op"
"""A small module inside the compiler's package that transformers' masks do use; it needs nothing of the package."""


class _NoCompiler(ModuleType):
    """Stands for torch._dynamo while modules are imported that mark functions for it: the marks do nothing."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda function=None, *_, **__: (lambda same: same) if function is None else function


@contextmanager
def light_imports() -> Iterator[None]:
    """For the first import of transformers, and the first model; where parts are loaded already, nothing changes."""
    if "transformers" in sys.modules or _COMPILER in sys.modules or not _are_known():
        yield
        return
    import torch  # noqa: PLC0415 it takes seconds, and only this backend needs it here

    distributed = torch.distributed.is_available
    stand_ins = {_COMPILER: _NoCompiler(_COMPILER)} | {name: None for name in _OPTIONAL if name not in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type] # None: not installed, for whoever asks
    torch.distributed.is_available = lambda: False
    try:
        _load(_VMAP, Path(torch.__file__).parent / "_dynamo" / "_trace_wrapped_higher_order_op.py")
        yield
    finally:
        torch.distributed.is_available = distributed
        for name in stand_ins:
            del sys.modules[name]


def _are_known() -> bool:
    found = {name: version(name) for name in KNOWN}
    others = [f"{name} {found[name]}" for name, known in KNOWN.items() if not f"{found[name]}.".startswith(f"{known}.")]
    if others:
        _log.warning(
            "the startup takes seconds longer: the imports of %s are not known, and none is skipped",
            " and ".join(others),
        )
    return not others


def _load(name: str, path: Path) -> None:
    """The module in this file, under its own name, without its package."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no module", name=name, path=str(path))
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
