"""The Secrets that a service's pods need, and the initializer's container once it is known which of them exist."""

from collections.abc import Sequence

from embedding_operator.core.checks.secrets import SecretRequirement, is_met, note
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.storage import Fetcher
from embedding_operator.resources.kubernetes import Container, EnvVar, KeyRef
from embedding_operator.resources.v1alpha1 import EmbeddingService
from embedding_operator.settings import Settings

__all__ = ["TOKEN_VARIABLE", "notes", "requirements", "without_unmet"]

TOKEN_VARIABLE = "HF_TOKEN"  # noqa: S105 a variable's name


def requirements(service: EmbeddingService, fetcher: Fetcher) -> list[SecretRequirement]:
    """All that the pods take from Secrets. The service's own token wins over its storage container's."""
    token, auth = service.spec.model.token_secret_ref, service.spec.auth
    found = [
        SecretRequirement(
            str(fetcher),
            ref,
            f"--from-literal={ref.key}=<value>",
            variable,
            is_optional=bool(ref.optional) or fetcher.is_catch_all,
        )
        for variable, ref in fetcher.secrets.items()
        if not (token and variable == TOKEN_VARIABLE)
    ]
    if token is not None:
        own = KeyRef(name=token.name, key=token.key)
        option = f"--from-literal={own.key}=<value>"
        found.append(SecretRequirement("spec.model.tokenSecretRef", own, option, TOKEN_VARIABLE))
    if auth is not None:
        keys = KeyRef(name=auth.api_keys_secret_ref.name, key=auth.api_keys_secret_ref.key)
        option = f"--from-file={keys.key}=<file of lines NAME KEY>"
        found.append(SecretRequirement("spec.auth.apiKeysSecretRef", keys, option))
    return found


def notes(fetcher: Fetcher, needed: Sequence[SecretRequirement], snapshot: Snapshot) -> tuple[str, ...]:
    """Warnings for users of a catch-all: its author did not know their namespace."""
    if not fetcher.is_catch_all:
        return ()
    return tuple(note(each, snapshot) for each in needed if each.is_optional and not is_met(each, snapshot))


def without_unmet(
    container: Container, needed: Sequence[SecretRequirement], snapshot: Snapshot, settings: Settings
) -> Container:
    """The container with its optional Secrets marked as such, so that the pods do not change when one is created.

    Where the policy requires a label, a variable whose Secret is not usable is left out instead: the kubelet would fill
    it whatever the label says.
    """
    by_variable = {each.variable: each for each in needed if each.is_optional}
    env: list[EnvVar] = []
    for variable in container.env:
        requirement = by_variable.get(variable.name)
        source = variable.value_from
        if requirement is None or source is None or source.secret_key_ref is None:
            env.append(variable)
            continue
        if settings.policy.secrets.require_label and not is_met(requirement, snapshot):
            continue
        ref = source.secret_key_ref.model_copy(update={"optional": True})
        env.append(variable.model_copy(update={"value_from": source.model_copy(update={"secret_key_ref": ref})}))
    return container.model_copy(update={"env": env})
