"""Further sources of a model: adapters, modules."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from embedding_operator.core.checks.problems import invalid, quoted
from embedding_operator.core.checks.uri import check_uri
from embedding_operator.core.versions import may_move
from embedding_operator.errors import Problem
from embedding_operator.resources.v1alpha1 import ModelPart, ModelSpec
from embedding_runtime.contract import MODEL_DIR, HuggingFaceUri, OciUri, PvcUri

__all__ = ["check_parts", "directory_of"]

_FIELD = "spec.model.storageUris"


def check_parts(model: ModelSpec) -> list[Problem]:
    """Whether each source can be downloaded into a directory of its own below the model's."""
    found = [problem for number, part in enumerate(model.storage_uris) for problem in _problems_of_uri(number, part)]
    if model.storage_uris and model.cache is not None:
        found += invalid([f"{_FIELD}: a cache holds the model of spec.model.storageUri alone: leave one of both out"])
    return [*found, *invalid(_problems_of_paths(model.storage_uris))]


def directory_of(part: ModelPart) -> PurePosixPath:
    """Where a source is downloaded to."""
    return MODEL_DIR / part.mount_path


def _problems_of_uri(number: int, part: ModelPart) -> list[Problem]:
    field = f"{_FIELD}[{number}].uri"
    uri, problems = check_uri(part.uri, field)
    match uri:
        case HuggingFaceUri() | OciUri() if may_move(uri):
            remedy = "name a commit (hf://owner/name:COMMIT) or a digest (oci://registry/name@sha256:DIGEST)"
            words = f"{uri} may move, and only spec.model.storageUri is resolved to a version: {remedy}"
            return invalid([f"{field}: {words}"])
        case PvcUri():
            words = f"{uri} is not mounted, as only the claim of spec.model.storageUri is: copy the files to that claim"
            return invalid([f"{field}: {words}"])
    return problems


def _problems_of_paths(parts: Sequence[ModelPart]) -> list[str]:
    problems: list[str] = []
    seen: list[PurePosixPath] = []
    for number, part in enumerate(parts):
        field, path = f"{_FIELD}[{number}].mountPath", directory_of(part)
        is_below = MODEL_DIR in path.parents and part.mount_path.isprintable()
        if not is_below or any(name.startswith(".") for name in path.parts):
            shown = quoted(part.mount_path)
            problems.append(
                f"{field}: {shown} is not below {MODEL_DIR}: use {MODEL_DIR}/NAME, without dots before names"
            )
        elif other := next(
            (each for each in seen if each == path or each in path.parents or path in each.parents), None
        ):
            problems.append(f"{field}: {path} overlaps {other}: use directories that are not in each other")
        seen.append(path)
    return problems
