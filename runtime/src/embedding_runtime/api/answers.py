"""Answers as JSON, written straight from the vectors."""

import base64
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import numpy as np
import orjson
from fastapi import Response

from embedding_runtime.wire import VectorRows

__all__ = ["ENCODINGS", "json_of"]


def json_of(content: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """numpy's arrays become lists, in Rust."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, "application/json")


def _base64(rows: VectorRows) -> list[str]:
    return [base64.b64encode(row).decode() for row in rows.astype("<f4", copy=False)]


def _bits(rows: VectorRows) -> Any:
    return np.packbits(rows > 0, axis=1)


ENCODINGS: Mapping[str, Callable[[VectorRows], Any]] = {
    "float": lambda rows: rows,
    "base64": _base64,
    "ubinary": _bits,
    "binary": lambda rows: (_bits(rows).astype(np.int16) - 128).astype(np.int8),  # as sentence-transformers has it
}
"""(texts, dimensions) -> what is sent, something for each text; orjson takes all of it."""
