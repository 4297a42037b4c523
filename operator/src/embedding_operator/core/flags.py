"""A service's `args`, and the fields that stand for flags, as the one set of flags that its server gets."""

from embedding_operator.resources.v1alpha1 import EmbeddingService
from embedding_operator.constants import API_KEYS_FILE
from embedding_runtime.contract import ContractError, ServeArgs, read_flags

__all__ = ["serve_args"]

_OURS = ("model_dir", "host", "http_port")
"""Flags that the pod's own layout fixes."""


def serve_args(service: EmbeddingService) -> tuple[ServeArgs | None, list[str]]:
    """The flags, or all that is wrong with them."""
    given, problems = read_flags(service.spec.args)
    for name in _OURS:
        if given.pop(name, None) is not None:
            problems.append(f"--{name} is set by the operator: take it out of spec.args")
    for name, field, value in (
        ("model_name", "spec.model.name is", service.spec.model.name),
        ("backend", "spec.backend is", service.spec.backend),
        ("api_keys_file", "spec.auth.apiKeysSecretRef becomes", str(API_KEYS_FILE) if service.spec.auth else None),
    ):
        if value is not None and given.get(name, value) != value:
            problems.append(f"{field} {value} and spec.args has --{name}={given[name]}: keep one")
        elif value is not None:
            given[name] = value
    given.setdefault("model_name", service.metadata.name)
    try:
        args = ServeArgs.from_argv([f"--{name}={value}" for name, value in given.items()])
    except ContractError as error:
        return None, [*problems, *error.problems]
    return (None, problems) if problems else (args, [])
