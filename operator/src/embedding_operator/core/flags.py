"""A service's `args`, and the fields that stand for flags, as the one set of flags that its server gets."""

from collections.abc import Mapping, Sequence

from embedding_operator.constants import API_KEYS_FILE
from embedding_operator.core.checks.problems import invalid
from embedding_operator.core.reasons import Reason
from embedding_operator.errors import Problem
from embedding_operator.resources.v1alpha1 import EmbeddingService
from embedding_operator.settings import Policy
from embedding_runtime.contract import ContractError, ServeArgs

__all__ = ["serve_args"]

_OURS = ("model_dir", "host", "http_port")
"""Flags that the pod's own layout fixes."""
_FALSE = frozenset({"0", "f", "false", "n", "no", "off"})


def serve_args(service: EmbeddingService, policy: Policy) -> tuple[ServeArgs | None, list[Problem]]:
    """The flags, or all that is wrong with them."""
    unprintable = [index for index, arg in enumerate(service.spec.args) if not arg.isprintable()]
    if unprintable:
        return None, invalid(
            f"spec.args[{index}] has characters that do not print: take them out" for index in unprintable
        )
    given, problems = ServeArgs.read_flags(service.spec.args)
    for name in _OURS:
        if given.pop(name, None) is not None:
            problems.append(f"--{name} is set by the operator: take it out of spec.args")
    model = service.spec.model
    for name, field, value in (
        ("model_name", "spec.model.name is", model.name),
        ("backend", "spec.backend is", service.spec.backend),
        ("trust_remote_code", "spec.model.trustRemoteCode is", _flag(value=model.trust_remote_code)),
        ("matryoshka", "spec.model.matryoshka is", model.matryoshka),
        ("truncate", "spec.model.truncate is", model.truncate),
        ("api_keys_file", "spec.auth.apiKeysSecretRef becomes", str(API_KEYS_FILE) if service.spec.auth else None),
    ):
        if value is not None and given.get(name, value) != value:
            problems.append(f"{field} {value} and spec.args has --{name}={given[name]}: keep one")
        elif value is not None:
            given[name] = value
    forbidden = _forbidden(given, policy)
    given.setdefault("model_name", service.metadata.name)
    args = None
    try:
        args = ServeArgs.from_flags(given)
    except ContractError as error:
        problems += error.problems
    wrong = [*invalid(problems), *forbidden]
    return (None, wrong) if wrong else (args, [])


def _flag(*, value: bool | None) -> str | None:
    return None if value is None else str(value).lower()


def _forbidden(given: Mapping[str, str | Sequence[str]], policy: Policy) -> list[Problem]:
    """Flags that an administrator has to allow first."""
    problems = [
        Problem(
            Reason.POLICY_VIOLATION,
            f"--{name} lets files of a model run code in the server, and the operator's policy forbids it: take it out "
            f"of {'spec.args' if name == 'allow_pickle' else 'spec.args and spec.model.trustRemoteCode'}, or have an "
            f"administrator set the chart's value policy.{field}",
        )
        for name, field, is_allowed in (
            ("trust_remote_code", "trustRemoteCode", policy.trust_remote_code),
            ("allow_pickle", "allowPickle", policy.allow_pickle),
        )
        if not is_allowed and str(given.get(name, "false")).lower() not in _FALSE
    ]
    if given.get("backend") == "fake" and not policy.fake_backend:
        problems += invalid(["--backend=fake gives made-up vectors, for tests: write vllm or huggingface"])
    return problems
