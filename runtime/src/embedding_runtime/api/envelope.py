"""A fault as the answer that tells it: OpenAI's error envelope."""

from collections.abc import Mapping

import orjson
from fastapi import Response

from embedding_runtime.errors import RuntimeFault

__all__ = ["answer", "envelope"]


def answer(fault: RuntimeFault) -> Response:
    """With `Retry-After` where trying again may help."""
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    return envelope(fault.status, str(fault), fault.type, param=fault.param, code=fault.code, headers=headers)


def envelope(
    status: int,
    message: str,
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The parts of it, where there is no fault of ours."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Response(orjson.dumps({"error": error}), status, headers, "application/json")
