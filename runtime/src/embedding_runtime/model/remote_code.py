"""Python code that comes with a model: `auto_map` in its files names classes that replace those of transformers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedding_runtime.model.files import ModelRefused, object_or_nothing

__all__ = ["comes_with", "modules"]


def comes_with(directory: Path) -> bool:
    """Whether the model has code. Raises ModelRefused if it is in another repository."""
    found = False
    for path in (directory / "config.json", directory / "tokenizer_config.json"):
        for name in _classes(object_or_nothing(path).get("auto_map")):
            if "--" in name:
                raise ModelRefused(
                    f"{path} has auto_map {name!r}, whose code is in another repository, and the server downloads "
                    "nothing: copy its files into the model's directory, and remove the part up to -- from the name"
                )
            found = True
    return found


def modules(directory: Path) -> list[Path]:
    """All Python files of the model."""
    return sorted(directory.rglob("*.py"))


def _classes(auto_map: Any) -> Iterator[str]:
    """The class names in auto_map: a string, or nested lists and objects of strings."""
    if isinstance(auto_map, str):
        yield auto_map
    elif isinstance(auto_map, dict | list):
        for each in auto_map.values() if isinstance(auto_map, dict) else auto_map:
            yield from _classes(each)
