"""Imports transformers and loads a model without modules that no embedding model uses, which saves half of the startup.

transformers' code for generation, training and images imports torch's compiler, torch.distributed, scikit-learn, SciPy
and Pillow if they are installed, and so does torch when it creates the first weights. This backend needs none of them:
docs/performance.md.
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
"""Versions for which this is known to work. Imports are internal, and change without notice."""

_OPTIONAL = ("PIL", "scipy", "sklearn")
"""Packages that transformers imports only if they are installed."""

_COMPILER = "torch._dynamo"
_VMAP = f"{_COMPILER}._trace_wrapped_higher_order_op"
"""A module of the compiler's package that transformers' masks use. It works without the package."""


class _NoCompiler(ModuleType):
    """Replaces torch._dynamo during imports. Its decorators return the function unchanged."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda function=None, *_, **__: (lambda same: same) if function is None else function


@contextmanager
def light_imports() -> Iterator[None]:
    """Wrap the first import of transformers and the first model. No effect if they are already loaded."""
    if "transformers" in sys.modules or _COMPILER in sys.modules or not _are_known():
        yield
        return
    import torch  # noqa: PLC0415 takes seconds, only needed here

    distributed = torch.distributed.is_available
    stand_ins = {_COMPILER: _NoCompiler(_COMPILER)} | {name: None for name in _OPTIONAL if name not in sys.modules}
    sys.modules.update(stand_ins)  # type: ignore[arg-type] # None means: not installed
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
    """Load a module from a file, without its package."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a module", name=name, path=str(path))
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
