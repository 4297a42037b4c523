"""Whether Python code that comes with a model may run, and what to do if it must and may not."""

from collections.abc import Iterable
from pathlib import Path

from embedding_runtime.model.files import ModelRefused
from embedding_runtime.remote_code import CODE_DIR, BadReference, Reference, commit_of, references

__all__ = ["has_code", "may_run", "modules", "needed"]


def may_run(directory: Path, *, trusted: bool) -> bool:
    """Whether the model has code, and it may run. `trusted`: --trust_remote_code.

    Raises ModelRefused for code that may run and is missing, and for names that lead out of the model's directory.
    """
    if not trusted:
        return False
    found = _references(directory)
    for each in found:
        if each.repository is not None and commit_of(directory, each.repository) is None:
            raise ModelRefused(
                f"{each}: its code is in the repository {each.repository}, and {directory / CODE_DIR} has no copy of "
                f"it: {_how_to_get([each.repository])}"
            )
    _refuse_links_out(directory)
    return bool(found)


def _refuse_links_out(directory: Path) -> None:
    """Raises ModelRefused for a link to code elsewhere, which `modules` does not list, and which can change."""
    code, root = directory / CODE_DIR, directory.resolve()
    for path in (code, *code.rglob("*")):
        if not (target := path.resolve()).is_relative_to(root):
            raise ModelRefused(
                f"{path} is a link to {target}, outside of the model's directory: copy the code in its place"
            )


def has_code(directory: Path) -> bool:
    """Whether files of the model name Python code. Raises ModelRefused."""
    return bool(_references(directory))


def needed(directory: Path, why: str) -> ModelRefused:
    """The refusal of a model whose code may not run. `why`: the field that names it, and why it is needed."""
    repositories = list(dict.fromkeys(each.repository for each in _references(directory) if each.repository))
    source = f", from the repository {' and '.join(repositories)}," if repositories else ""
    get = f"; {_how_to_get(repositories)}" if repositories else ""
    return ModelRefused(
        f"{why} needs Python code that comes with it{source} and runs with all rights of the server: review it and set "
        "--trust_remote_code=true (of a service: spec.model.trustRemoteCode, which an administrator allows with the "
        f"chart's value policy.trustRemoteCode){get}; or use a model of a type that transformers supports"
    )


def modules(directory: Path) -> list[Path]:
    """All Python files of the model, with those of other repositories."""
    return sorted(directory.rglob("*.py"))


def _references(directory: Path) -> list[Reference]:
    try:
        return references(directory)
    except BadReference as error:
        raise ModelRefused(str(error)) from error


def _how_to_get(repositories: Iterable[str]) -> str:
    commands = " && ".join(
        f"hf download {repository} --include '*.py' --cache-dir DIR/{CODE_DIR}" for repository in repositories
    )
    return (
        "with an hf:// URI the initializer downloads the code once it is trusted; a model from elsewhere (pvc://, "
        f"file://, --model_dir) needs it in its directory DIR: {commands}"
    )
