"""Python code of a model: the classes that its files name, and where their code is.

transformers and sentence-transformers replace classes of their own by those that `auto_map` in config.json and
tokenizer_config.json and `type` in modules.json name: `module.Class` of the model's own directory, or
`owner/repository--module.Class`. Code of other repositories is in the model's subdirectory CODE_DIR, in the layout of
the hub's cache, in which transformers looks for it by itself:

    remote_code/models--owner--repository/refs/main                the commit
    remote_code/models--owner--repository/snapshots/COMMIT/*.py    the code
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["CODE_DIR", "BadReference", "Reference", "code_revision", "commit_of", "references", "repository_directory"]

CODE_DIR = "remote_code"


class BadReference(ValueError):
    """A file of the model names a class in a way that could lead elsewhere, or cannot be read."""


@dataclass(frozen=True)
class Reference:
    """A class that a file of the model names."""

    file: Path
    field: str
    """`auto_map` or `type`."""
    text: str
    repository: str | None
    """None: the model's own directory."""
    module: str
    """Name of the Python file."""

    def __str__(self) -> str:
        return f"{self.file} has {self.field} {self.text!r}"


def references(directory: Path) -> list[Reference]:
    """The classes that the files of a model name, other than those of sentence-transformers. Raises BadReference."""
    return [_parsed(*each) for each in _named(directory)]


def code_revision(directory: Path) -> str | None:
    """The revision of the code that the settings of sentence-transformers name. Raises BadReference."""
    for folder in _folders(directory):
        for file in sorted(folder.glob("sentence_*_config.json")):
            for arguments in _object(file).values():
                revision = arguments.get("code_revision") if isinstance(arguments, dict) else None
                if revision is None:
                    continue
                if not isinstance(revision, str) or not _REVISION.fullmatch(revision) or ".." in revision:
                    raise BadReference(f"{file} has code_revision {revision!r}, which is not a branch, tag or commit")
                return revision
    return None


def repository_directory(directory: Path, repository: str) -> Path:
    """The place of a repository's code in the directory of a model."""
    return directory / CODE_DIR / f"models--{repository.replace('/', '--')}"


def commit_of(directory: Path, repository: str) -> str | None:
    """The commit of a repository's code in the directory of a model; None if the code is not there."""
    place = repository_directory(directory, repository)
    try:
        commit = (place / "refs" / "main").read_text()
    except OSError:
        return None
    return commit if _COMMIT.fullmatch(commit) and (place / "snapshots" / commit).is_dir() else None


_COMMIT = re.compile(r"[0-9a-f]{40}")
_REVISION = re.compile(r"\w[\w./-]*", re.ASCII)
_NAME = r"[A-Za-z0-9](?:[\w.-]*\w)?"
"""As on the hub. With a hyphen at the end, transformers would find another repository before the `--`."""
_REFERENCE = re.compile(rf"(?:({_NAME}/{_NAME})--)?([A-Za-z_]\w*)\.[A-Za-z_]\w*", re.ASCII)


def _parsed(file: Path, field: str, text: str) -> Reference:
    found = _REFERENCE.fullmatch(text)
    repository = found and found[1]
    if found is None or any(part in (repository or "") for part in ("..", "--")):
        raise BadReference(
            f"{file} has {field} {text!r}, which must be module.Class or owner/repository--module.Class: code is "
            "loaded from no other place"
        )
    return Reference(file, field, text, repository, f"{found[2]}.py")


def _named(directory: Path) -> Iterator[tuple[Path, str, str]]:
    """File, field and text of each reference."""
    modules = directory / "modules.json"
    for module in _list(modules):
        kind = module.get("type") if isinstance(module, dict) else None
        if isinstance(kind, str) and not kind.startswith("sentence_transformers."):
            yield modules, "type", kind
    for folder in _folders(directory):
        for file in (folder / "config.json", folder / "tokenizer_config.json"):
            for text in _strings(_object(file).get("auto_map")):
                yield file, "auto_map", text


def _folders(directory: Path) -> list[Path]:
    """The directory, and those of the modules."""
    modules = directory / "modules.json"
    paths = [str(module.get("path", "")) for module in _list(modules) if isinstance(module, dict)]
    for path in paths:
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise BadReference(f"{modules} has a module outside of the model's directory: {path}")
    return list(dict.fromkeys([directory, *(directory / path for path in paths)]))


def _strings(auto_map: Any) -> Iterator[str]:
    """A string, or nested lists and objects of strings."""
    if isinstance(auto_map, str):
        yield auto_map
    elif isinstance(auto_map, dict | list):
        for each in auto_map.values() if isinstance(auto_map, dict) else auto_map:
            yield from _strings(each)


def _object(file: Path) -> dict[str, Any]:
    found = _json(file)
    return found if isinstance(found, dict) else {}


def _list(file: Path) -> list[Any]:
    found = _json(file)
    return found if isinstance(found, list) else []


def _json(file: Path) -> Any:
    """The content of a file; None if it does not exist."""
    try:
        return json.loads(file.read_bytes()) if file.is_file() else None
    except (OSError, ValueError, RecursionError) as error:
        raise BadReference(f"{file} cannot be read: {error}") from error
