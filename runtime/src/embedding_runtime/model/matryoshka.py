"""To how many dimensions a request may have vectors cut (matryoshka), and who says so.

The flag goes first, then the model's config.json, then its model card, for the models in matryoshka.toml. These are
known by the address that the initializer has noted (`hf://owner/name`), since nothing in their files tells them from a
model that was trained further without regard to the cut: architecture and sizes are the same. A model that came another
way (pvc://, file://, another initializer) needs the flag.
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
    """Numbers of dimensions below the model's own, in rising order."""

    below: Sequence[int]
    source: str
    """Who says so: a flag, a file, or the address of a model card; empty where nobody does."""


NO_SIZES = Sizes((), "")


def sizes_of_flag(asked: tuple[int, ...] | Literal["any"], dimensions: int) -> Sizes:
    """`asked`: the value of --matryoshka. Raises ModelRefused for a size that the model's vectors do not have."""
    if isinstance(asked, str):
        return Sizes(range(1, dimensions), "--matryoshka")
    if beyond := [size for size in asked if size > dimensions]:
        raise ModelRefused(
            f"--matryoshka={','.join(map(str, asked))}: {beyond[0]} is more than the {dimensions} dimensions of the "
            "model's vectors; remove it"
        )
    return Sizes(_below(asked, dimensions), "--matryoshka")


def read_sizes(directory: Path, transformer: Path, dimensions: int) -> Sizes:
    """What the model's files say of vectors of so many dimensions.

    `directory`: of the model; `transformer`: of its config.json. Raises ModelRefused.
    """
    said = _in_config(transformer / "config.json", dimensions)
    return said if said is not NO_SIZES else _on_the_card(directory, dimensions)


def _in_config(path: Path, dimensions: int) -> Sizes:
    """In the two keys that vLLM reads, too; sentence-transformers has none for it."""
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
    """`owner/name`, as the initializer has noted it; empty where it has not."""
    try:
        uri = parse_uri(str(object_or_nothing(directory / MODEL_NOTE).get("uri")))
    except BadUri:
        return ""
    return uri.repo_id if isinstance(uri, HuggingFaceUri) else ""


@cache
def _families() -> Mapping[str, Mapping[str, Any]]:
    """By repository."""
    listed = tomllib.loads(_FAMILIES.read_text())["family"]
    return {repository: family for family in listed for repository in family["repositories"]}


def _below(sizes: Sequence[int], dimensions: int) -> tuple[int, ...]:
    return tuple(sorted(size for size in set(sizes) if size < dimensions))
