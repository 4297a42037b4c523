"""The container of a storage container: what an API server says only when the pods are created."""

from embedding_operator.core.checks.problems import invalid
from embedding_operator.core.checks.resources import check_resources
from embedding_operator.core.checks.secrets import check_key
from embedding_operator.errors import Problem
from embedding_operator.resources.kubernetes import Container, EnvVar

__all__ = ["check_container"]

_WHERE = "spec.container"


def check_container(container: Container) -> list[Problem]:
    """Its resources and variables."""
    problems = check_resources(container.resources, f"{_WHERE}.resources")
    for index, variable in enumerate(container.env):
        problems += _check_variable(variable, f"{_WHERE}.env[{index}]")
    return problems


def _check_variable(variable: EnvVar, where: str) -> list[Problem]:
    problems = []
    if not variable.name.isprintable() or not variable.name.isascii() or "=" in variable.name:
        problems += invalid([f"{where}.name: use ASCII characters that print, without '='"])
    if variable.value is not None and "\0" in variable.value:
        problems += invalid([f"{where}.value: take the NUL character out"])
    source = variable.value_from
    if source is None:
        return problems
    if variable.value is not None:
        problems += invalid([f"{where}: give value or valueFrom, not both"])
    refs = {"secretKeyRef": source.secret_key_ref, "configMapKeyRef": source.config_map_key_ref}
    if sum(each is not None for each in (*refs.values(), source.field_ref)) != 1:
        problems += invalid([f"{where}.valueFrom: give exactly one of secretKeyRef, configMapKeyRef and fieldRef"])
    for field, ref in refs.items():
        problems += check_key(ref.key, f"{where}.valueFrom.{field}.key") if ref else []
    return problems
