"""The model's address."""

from embedding_operator.core.checks.problems import invalid, quoted
from embedding_operator.core.versions import is_fixed, may_move
from embedding_operator.errors import Problem
from embedding_operator.resources.v1alpha1 import ModelSpec
from embedding_runtime.contract import BadUri, ModelUri, parse_uri, without_secrets

__all__ = ["check_update_policy", "check_uri"]


def check_uri(text: str, field: str = "spec.model.storageUri") -> tuple[ModelUri | None, list[Problem]]:
    """What the address names, or why it names nothing. It becomes an argument of a process, so it has to print."""
    if not text.isprintable():
        words = f"{quoted(without_secrets(text))} has characters that do not print: take them out"
        return None, invalid([f"{field}: {words}"])
    try:
        return parse_uri(text), []
    except BadUri as error:
        return None, invalid([f"{field}: {error}"])


def check_update_policy(model: ModelSpec, uri: ModelUri | None) -> list[Problem]:
    """Only what may have another version later can be followed."""
    if model.update_policy != "Follow" or uri is None:
        return []
    if is_fixed(uri):
        return invalid(
            [f"spec.model.updatePolicy: {uri} names one version, which never moves: use Pinned, or name a branch"]
        )
    if may_move(uri) or model.cache is not None:
        return []
    words = "Follow needs a branch or tag of hf:// or oci://, or spec.model.cache: use Pinned"
    return invalid([f"spec.model.updatePolicy: {words}"])
