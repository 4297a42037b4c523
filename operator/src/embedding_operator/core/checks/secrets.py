"""Secrets that the pods take keys from."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from embedding_operator.constants import USE_LABEL
from embedding_operator.core.checks.problems import invalid, quoted
from embedding_operator.core.reasons import Reason
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.errors import Problem
from embedding_operator.resources.kubernetes import KeyRef

__all__ = ["SecretRequirement", "check_key", "check_secrets", "is_met", "keys_by_secret", "note"]

_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


@dataclass(frozen=True)
class SecretRequirement:
    """A key of a Secret in the service's namespace: what asks for it, and what it becomes."""

    by: str
    """The field or the storage container that names it."""
    ref: KeyRef
    create_option: str
    """The option with which kubectl creates it."""
    variable: str | None = None
    """The initializer's variable that gets the value; None for a file."""
    is_optional: bool = False
    """Pods start without it."""


def check_key(key: str, where: str) -> list[Problem]:
    """No Secret or ConfigMap can have another key, so there is nothing to wait for."""
    if _KEY.fullmatch(key) and not key.startswith("..") and key != ".":
        return []
    return invalid([f"{where}: {quoted(key)} cannot be a key: use letters, digits, '-', '_' and '.', and no '..'"])


def check_secrets(requirements: Iterable[SecretRequirement], snapshot: Snapshot) -> list[Problem]:
    """What is missing, or not allowed. Names no key but the requested one: users who can read a service's
    status may not be allowed to read Secrets.
    """
    problems = []
    namespace = snapshot.service["metadata"].get("namespace")
    for each in requirements:
        name, key = each.ref.name, each.ref.key
        if each.is_optional or is_met(each, snapshot) or check_key(key, each.by):
            continue
        asked = f"{each.by} names key {key} of Secret {name}"
        if name in snapshot.unlabelled_secrets:
            label = f"kubectl label secret {name} -n {namespace} {USE_LABEL}=true"
            message = (
                f'{asked}, which lacks the label {USE_LABEL}: "true" that the operator\'s policy requires: {label}'
            )
            problems.append(Problem(Reason.SECRET_NOT_ALLOWED, message))
        elif snapshot.secrets.get(name) is None:
            create = f"kubectl create secret generic {name} -n {namespace} {each.create_option}"
            message = f"{asked}, which does not exist in namespace {namespace}: {create}"
            problems.append(Problem(Reason.SECRET_NOT_FOUND, message))
        else:
            message = f"{asked}, which has no such key: add the key, or name another one"
            problems.append(Problem(Reason.SECRET_NOT_FOUND, message))
    return problems


def is_met(requirement: SecretRequirement, snapshot: Snapshot) -> bool:
    """The Secret exists, has the key and may be used."""
    name = requirement.ref.name
    return name not in snapshot.unlabelled_secrets and requirement.ref.key in (snapshot.secrets.get(name) or ())


def note(requirement: SecretRequirement, snapshot: Snapshot) -> str:
    """What it means that an optional one is not met."""
    name, namespace = requirement.ref.name, snapshot.service["metadata"].get("namespace")
    if name in snapshot.unlabelled_secrets:
        why = f'lacks the label {USE_LABEL}: "true"'
    elif snapshot.secrets.get(name) is None:
        why = f"does not exist in namespace {namespace}"
    else:
        why = "has no such key"
    return (
        f"The model is fetched without {requirement.variable}: {requirement.by} takes it from key "
        f"{requirement.ref.key} of Secret {name}, which {why}."
    )


def keys_by_secret(requirements: Iterable[SecretRequirement]) -> Mapping[str, frozenset[str]]:
    """The keys that are asked for, by Secret."""
    keys: dict[str, frozenset[str]] = {}
    for each in requirements:
        keys[each.ref.name] = keys.get(each.ref.name, frozenset()) | {each.ref.key}
    return keys
