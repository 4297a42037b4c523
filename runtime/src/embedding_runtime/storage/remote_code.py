"""Downloads Python code that a model's files name in other repositories of the hub."""

import itertools
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.remote_code import (
    BadReference,
    Reference,
    code_revision,
    commit_of,
    references,
    repository_directory,
)
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.source import Listing, RemoteFile, Source
from embedding_runtime.storage.sources.hugging_face import HubSource

__all__ = ["download_code"]

Lister = Callable[[Source], Listing]
Getter = Callable[[Source, Collection[RemoteFile], Path, str], None]


def download_code(model: HubSource, commit: str, into: Path, list_files: Lister, get: Getter) -> Mapping[str, str]:
    """Download the Python code that the model's files name with a repository. Returns the commit of each.

    `commit`: of the model, also for code in the model's own repository. Code that is already in the model's
    directory, of an earlier attempt, is used as it is. `list_files`, `get`: with retries. Raises NoModel.
    """
    commits: dict[str, str] = {}
    try:
        named = [each for each in references(into) if each.repository is not None]
        revision = code_revision(into)
    except BadReference as error:
        message = f"{model.about}{str(error).replace(f'{into}/', '')}"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message) from error
    for repository, group in itertools.groupby(sorted(named, key=_repository_of), _repository_of):
        found = list(group)
        if (known := commit_of(into, repository)) is not None:
            commits[repository] = known
            continue
        reason = f"its code is in the repository {repository} ({_without(found[0], into)})"
        its_revision = commit if repository == model.repo_id else revision
        with closing(HubSource(f"{model.about}{reason}, and ", repository, its_revision, model.hub)) as source:
            commits[repository] = _download(source, {each.module for each in found}, into, list_files, get)
    return commits


def _download(source: HubSource, modules: Collection[str], into: Path, list_files: Lister, get: Getter) -> str:
    """Download the Python files of a repository to the place where transformers looks for them. Returns the commit.

    `modules`: files that the model's files name.
    """
    listing = list_files(source)
    commit = str(listing.version)
    if missing := set(modules) - listing.files.keys():
        raise NoModel(
            DownloadVerdict.MODEL_NOT_FOUND,
            f"{source.about}{source.repo_id} at commit {commit} has no {', '.join(sorted(missing))}: use a revision of "
            "the model that fits it",
        )
    files = [file for path, file in listing.files.items() if path.endswith(".py")]
    place = repository_directory(into, source.repo_id)
    get(source, files, place / "snapshots" / commit, f"of {source.repo_id} at commit {commit}")
    (place / "refs").mkdir(exist_ok=True)
    for name in {"main", source.revision or "main"} - {commit}:
        ref = place / "refs" / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)
    return commit


def _repository_of(reference: Reference) -> str:
    return reference.repository or ""


def _without(reference: Reference, directory: Path) -> str:
    """Describe a reference by its path in the model, whose directory is temporary."""
    return str(replace(reference, file=reference.file.relative_to(directory)))
