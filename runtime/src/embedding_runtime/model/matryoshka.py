"""Sizes to which a request may truncate vectors (matryoshka), and their source.

--matryoshka overrides the model's config.json, which overrides the model card of models in matryoshka.toml. These are
identified by the URI that the initializer recorded (`hf://owner/name`), because their files are indistinguishable from
those of a model that was fine-tuned without matryoshka loss. A model from elsewhere (pvc://, file://, another
initializer) needs the flag.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from embedding_runtime.contract import MODEL_NOTE, BadUri, HuggingFaceUri, parse_uri
from embedding_runtime.model.files import ModelRefused, object_or_nothing

__all__ = ["NO_SIZES", "Sizes", "read_sizes", "sizes_of_flag"]

_FAMILIES = Path(__file__).with_name("matryoshka.toml")


@dataclass(frozen=True)
class Sizes:
    """Sizes below the model's own, in ascending order."""

    below: Sequence[int]
    source: str
    """A flag, a file, or the URL of a model card; empty if there are no sizes."""


NO_SIZES = Sizes((), "")


def sizes_of_flag(asked: tuple[int, ...] | Literal["any"], dimensions: int) -> Sizes:
    """The sizes of --matryoshka (`asked`). Raises ModelRefused for a size above `dimensions`."""
    if isinstance(asked, str):
        return Sizes(range(1, dimensions), "--matryoshka")
    if beyond := [size for size in asked if size > dimensions]:
        raise ModelRefused(
            f"--matryoshka={','.join(map(str, asked))}: {beyond[0]} exceeds the {dimensions} dimensions of the model's "
            "vectors; remove it"
        )
    return Sizes(_below(asked, dimensions), "--matryoshka")


def read_sizes(directory: Path, transformer: Path, dimensions: int) -> Sizes:
    """Read the sizes from the model's files.

    `directory`: of the model; `transformer`: of its config.json. Raises ModelRefused.
    """
    configured = _in_config(transformer / "config.json", dimensions)
    return configured if configured is not NO_SIZES else _on_the_card(directory, dimensions)


def _in_config(path: Path, dimensions: int) -> Sizes:
    """Read the two keys that vLLM reads, too. sentence-transformers has none."""
    config = object_or_nothing(path)
    sizes = config.get("matryoshka_dimensions")
    if not sizes:
        return Sizes(range(1, dimensions), path.name) if config.get("is_matryoshka") else NO_SIZES
    if not isinstance(sizes, list) or not all(isinstance(size, int) and size > 0 for size in sizes):
        raise ModelRefused(
            f"{path} has matryoshka_dimensions {sizes!r}, which must be a list of positive whole numbers"
        )
    return Sizes(_below(sizes, dimensions), path.name)


def _on_the_card(directory: Path, dimensions: int) -> Sizes:
    family = _families().get(_repository(directory))
    if family is None:
        return NO_SIZES
    below = range(family["smallest"], dimensions) if "smallest" in family else _below(family["sizes"], dimensions)
    return Sizes(below, family["source"])


def _repository(directory: Path) -> str:
    """`owner/name` that the initializer recorded; empty if it is not known."""
    try:
        uri = parse_uri(str(object_or_nothing(directory / MODEL_NOTE).get("uri")))
    except BadUri:
        return ""
    return uri.repo_id if isinstance(uri, HuggingFaceUri) else ""


@cache
def _families() -> Mapping[str, Mapping[str, Any]]:
    """Families by repository."""
    listed = tomllib.loads(_FAMILIES.read_text())["family"]
    return {repository: family for family in listed for repository in family["repositories"]}


def _below(sizes: Sequence[int], dimensions: int) -> tuple[int, ...]:
    return tuple(sorted(size for size in set(sizes) if size < dimensions))
