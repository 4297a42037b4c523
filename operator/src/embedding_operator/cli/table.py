"""What `kubectl get` would print of objects: the columns of their CRD, read from it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

__all__ = ["cell", "table"]

_STEP = re.compile(r"""\.(?P<key>\w+)|\[\?\(@\.(?P<where>\w+)==["'](?P<value>[^"']*)["']\)\]""")


def table(objects: Sequence[Mapping[str, Any]], columns: Sequence[Mapping[str, Any]], now: datetime) -> str:
    """NAME and the columns of priority 0, a row an object, as wide as their widest cell."""
    shown = [column for column in columns if not column.get("priority")]
    rows = [["NAME", *(column["name"].upper() for column in shown)]]
    rows += [[o["metadata"]["name"], *(cell(o, column, now) for column in shown)] for o in objects]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("   ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def cell(item: Any, column: Mapping[str, Any], now: datetime) -> str:
    """One cell; empty where the object has no such field. Knows the two forms of JSONPath that CRD columns need."""
    for step in _STEP.finditer(column["jsonPath"]):
        if step["key"]:
            item = item.get(step["key"]) if isinstance(item, Mapping) else None
        else:
            item = next((each for each in item or () if each.get(step["where"]) == step["value"]), None)
    if item is None:
        return ""
    return _age(now - datetime.fromisoformat(item)) if column["type"] == "date" else str(item)


def _age(age: Any) -> str:
    """As kubectl shows ages, in the largest unit that leaves a number of more than one."""
    seconds = max(0, int(age.total_seconds()))
    for unit, length, below in (("s", 1, 120), ("m", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < below:
            return f"{seconds // length}{unit}"
    return f"{seconds // 86400}d"
