"""Finds BGE-M3's layers for tokens, which give two more outputs beside the vector of a text: sparse and colbert."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from embedding_runtime.model.files import refuse_pointer

__all__ = ["TokenHeads"]


@dataclass(frozen=True)
class TokenHeads:
    """The layers' files, as BGE-M3 ships them beside its weights. Each is a pickle of one linear layer."""

    found: Mapping[str, Path] = field(default_factory=dict)
    """The file of each output."""
    may_load: bool = False
    """Whether to load them. Like all pickles they need --allow_pickle."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Find the files. Raises ModelRefused for a Git LFS pointer."""
        files = {output: directory / f"{output}_linear.pt" for output in ("sparse", "colbert")}
        for file in files.values():
            refuse_pointer(file)
        return cls({output: file for output, file in files.items() if file.is_file()})

    def allowed(self, *, allow_pickle: bool) -> Self:
        """The same files, to be loaded or not."""
        return replace(self, may_load=allow_pickle)

    @property
    def files(self) -> Mapping[str, Path]:
        """The file of each output that is offered."""
        return self.found if self.may_load else {}

    @property
    def withheld(self) -> str:
        """Why outputs of the model are not offered; empty if all are."""
        if self.may_load or not self.found:
            return ""
        names = " and ".join(file.name for file in self.found.values())
        return f"the model has {names}, but pickles are loaded with --allow_pickle=true only"
