"""Counts the values of a JSON body without parsing it."""

import numpy as np

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.limits import Limits

__all__ = ["check_values"]


def check_values(body: bytes, limits: Limits) -> None:
    """Limit the memory of a parsed body, which can be thirty times its size. Raises BadRequest.

    It counts commas and opening brackets outside of strings. The result for a body that is not JSON may be wrong.
    """
    most_lists = _LISTS_PER_INPUT * limits.max_inputs + _OTHERS
    most_values = limits.max_request_tokens + most_lists
    lists = body.count(b"[") + body.count(b"{")
    if lists <= most_lists and lists + body.count(b",") <= most_values:
        return  # even including those in strings
    lists = values = 0
    inside = False
    # Without escaped characters every quotation mark begins or ends a string.
    plain = np.frombuffer(body.replace(b"\\\\", b"").replace(b'\\"', b""), np.uint8)
    for start in range(0, len(plain), _PIECE):
        piece = plain[start : start + _PIECE]
        strings = np.logical_xor.accumulate(piece == ord('"')) ^ inside
        inside = bool(strings[-1])
        begun = int(np.count_nonzero(~strings & ((piece == ord("[")) | (piece == ord("{")))))
        lists += begun
        values += begun + int(np.count_nonzero(~strings & (piece == ord(","))))
    if lists > most_lists or values > most_values:
        raise BadRequest(
            f"the body has {values} values, {lists} of them lists or objects; the maximum is {most_values} and "
            f"{most_lists} (derived from --max_request_tokens and --max_inputs): send several requests"
        )


_PIECE = 1 << 18
_LISTS_PER_INPUT = 4
_OTHERS = 1024
