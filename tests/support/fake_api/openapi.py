"""What a structural schema does to a custom resource: unknown fields are pruned, defaults set, the rest validated.

CEL rules (x-kubernetes-validations) are not evaluated.
"""

import json
import operator
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

__all__ = ["problems", "prune_and_default", "unknown_fields"]

Json = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}
_ROOT = {"apiVersion", "kind", "metadata"}


def prune_and_default(value: Any, schema: Json, *, root: bool = True) -> Any:
    """A new value with the schema's fields only, and with its defaults where fields are missing or null."""
    if isinstance(value, list):
        return [prune_and_default(item, schema.get("items", {}), root=False) for item in value]
    if not isinstance(value, dict) or ("properties" not in schema and "additionalProperties" not in schema):
        return {} if isinstance(value, dict) and not _keeps_unknown(schema) else value
    done: Json = {}
    for name, item in value.items():
        if root and name in _ROOT:
            done[name] = item
        elif (field := _field(schema, name)) is not None:
            if item is not None or field.get("nullable"):
                done[name] = prune_and_default(item, field, root=False)
        elif _keeps_unknown(schema):
            done[name] = item
    for name, field in schema.get("properties", {}).items():
        if name not in done and "default" in field:
            done[name] = prune_and_default(field["default"], field, root=False)
    return done


def unknown_fields(value: Any, schema: Json, path: str = "") -> Iterator[str]:
    """Paths that the schema does not have: pruned from what is sent, refused in what is applied."""
    if isinstance(value, list):
        for item in value:
            yield from unknown_fields(item, schema.get("items", {}), path)
    elif isinstance(value, dict) and not _keeps_unknown(schema):
        for name, item in value.items():
            if not path and name in _ROOT:
                continue
            if (field := _field(schema, name)) is None:
                yield f"{path}.{name}"
            else:
                yield from unknown_fields(item, field, f"{path}.{name}")


def problems(value: Any, schema: Json, path: str = "") -> Iterator[str]:
    """`field: what is wrong`, in the words of the API server."""
    wanted = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(value, int | str) or isinstance(value, bool):
            yield f"{path}: Invalid value: {json.dumps(value)}: {path} in body must be of type integer or string"
    elif wanted and not _is(value, wanted):
        name = next((name for name, kind in _TYPES.items() if type(value) is kind), "null")
        yield f'{path}: Invalid value: "{name}": {path} in body must be of type {wanted}: "{name}"'
        return
    if "enum" in schema and value not in schema["enum"]:
        supported = ", ".join(json.dumps(each) for each in schema["enum"])
        yield f"{path}: Unsupported value: {json.dumps(value)}: supported values: {supported}"
    if isinstance(value, str):
        yield from _of_string(value, schema, path)
    elif isinstance(value, int | float):
        yield from _of_number(value, schema, path)
    elif isinstance(value, list):
        yield from _of_list(value, schema, path)
    elif isinstance(value, dict):
        yield from _of_object(value, schema, path)


def _of_number(value: float, schema: Json, path: str) -> Iterator[str]:
    for bound, words, is_met in (("minimum", "greater", operator.ge), ("maximum", "less", operator.le)):
        if bound in schema and not is_met(value, schema[bound]):
            rule = f"{path} in body should be {words} than or equal to {schema[bound]}"
            yield f"{path}: Invalid value: {value}: {rule}"


def _of_object(value: Json, schema: Json, path: str) -> Iterator[str]:
    if len(value) > schema.get("maxProperties", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxProperties']} items"
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{_join(path, name)}: Required value"
    for name, item in value.items():
        if (field := _field(schema, name)) is not None:
            yield from problems(item, field, _join(path, name))


def _of_string(value: str, schema: Json, path: str) -> Iterator[str]:
    if len(value) > schema.get("maxLength", len(value)):
        yield f"{path}: Too long: may not be more than {schema['maxLength']} bytes"
    if len(value) < schema.get("minLength", 0):
        minimum = schema["minLength"]
        yield f'{path}: Invalid value: "{value}": {path} in body should be at least {minimum} chars long'
    if "pattern" in schema and not re.search(schema["pattern"], value):
        yield f"{path}: Invalid value: \"{value}\": {path} in body should match '{schema['pattern']}'"
    if schema.get("format") == "date-time":
        try:
            datetime.fromisoformat(value)
        except ValueError:
            yield f'{path}: Invalid value: "{value}": {path} in body must be of type date-time: "{value}"'


def _of_list(value: list[Any], schema: Json, path: str) -> Iterator[str]:
    if len(value) > schema.get("maxItems", len(value)):
        yield f"{path}: Too many: {len(value)}: must have at most {schema['maxItems']} items"
    if len(value) < schema.get("minItems", 0):
        yield f"{path}: Invalid value: {len(value)}: {path} in body should have at least {schema['minItems']} items"
    seen = []
    for index, item in enumerate(value):
        yield from problems(item, schema.get("items", {}), f"{path}[{index}]")
        if schema.get("x-kubernetes-list-type") == "map":
            key = {name: item.get(name) for name in schema["x-kubernetes-list-map-keys"]}
            if key in seen:
                yield f"{path}[{index}]: Duplicate value: {json.dumps(key)}"
            seen.append(key)


def _is(value: Any, wanted: str) -> bool:
    if isinstance(value, bool):
        return wanted == "boolean"
    return isinstance(value, _TYPES[wanted])


def _field(schema: Json, name: str) -> Json | None:
    known: Json | None = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
    return known


def _keeps_unknown(schema: Json) -> bool:
    return bool(schema.get("x-kubernetes-preserve-unknown-fields")) or "type" not in schema


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
