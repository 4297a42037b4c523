"""The token for a hub, in a pod that runs our own initializer: a file of its Secret, which no environment shows."""

from typing import Any

from embedding_operator.constants import TOKEN_FILE
from embedding_operator.core.requirements import TOKEN_VARIABLE
from embedding_operator.resources.kubernetes import KeyRef
from embedding_runtime.contract import TOKEN_PATH_VARIABLE

__all__ = ["mount_token"]

_VOLUME = "hub-token"


def mount_token(pod: dict[str, Any], container: dict[str, Any], key: KeyRef) -> None:
    """Add the file to one container of a pod's spec, in the place of a variable with a token."""
    env = [each for each in container["env"] if each["name"] != TOKEN_VARIABLE]
    container["env"] = [*env, {"name": TOKEN_PATH_VARIABLE, "value": str(TOKEN_FILE)}]
    container["volumeMounts"].append({"name": _VOLUME, "mountPath": str(TOKEN_FILE.parent), "readOnly": True})
    secret = {
        "secretName": key.name,
        "items": [{"key": key.key, "path": TOKEN_FILE.name}],
        "defaultMode": 0o444,  # for whatever user the pod gets; the volume is this container's alone
    }
    pod["volumes"].append({"name": _VOLUME, "secret": secret})
