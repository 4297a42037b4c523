"""A storage container merged over the built-in initializer, by strategic-merge rules."""

from collections.abc import Mapping
from typing import Any

from embedding_operator.resources.kubernetes import Container

__all__ = ["merge"]


def merge(built: Mapping[str, Any], over: Container) -> dict[str, Any]:
    """A container with the fields of another over it: env by name, resources by resource.

    Where Kubernetes' rules would make a container that no API server accepts, whole entries win: a variable's new
    source replaces its old one, and both limit and request of a resource are the other's if it has either. Its args
    go before the existing ones, and the name stays.
    """
    given = over.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True)
    merged = {**built, **{key: value for key, value in given.items() if key in {"image", "imagePullPolicy"}}}
    merged["args"] = [*given.get("args", ()), *built["args"]]
    env = {each["name"]: each for each in [*built["env"], *given.get("env", ())]}
    merged["env"] = list(env.values())
    resources = given.get("resources", {})
    touched = {name for amounts in resources.values() for name in amounts}
    merged["resources"] = {}
    for kind, amounts in built["resources"].items():
        kept = {name: value for name, value in amounts.items() if name not in touched}
        merged["resources"][kind] = kept | resources.get(kind, {})
    return merged
