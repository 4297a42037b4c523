"""Python code that comes with a model: `auto_map` in its files names classes that stand in for transformers' own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedding_runtime.model.files import ModelRefused, object_or_nothing

__all__ = ["comes_with", "modules"]


def comes_with(directory: Path) -> bool:
    """Whether there is any. Raises ModelRefused for another repository's: the model's directory is all there is."""
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
    """The files with code, those that others of them import among them."""
    return sorted(directory.rglob("*.py"))


def _classes(said: Any) -> Iterator[str]:
    """By the class that they stand in for, a name or several; tokenizers of old had a list."""
    if isinstance(said, str):
        yield said
    elif isinstance(said, dict | list):
        for each in said.values() if isinstance(said, dict) else said:
            yield from _classes(each)
