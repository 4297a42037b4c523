"""Conversion of vectors to other types, with the same bits as in torch."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embedding_runtime.errors import BadRequest
from embedding_runtime.protocol.rows import VectorRows

__all__ = ["EmbedDtype", "Endianness", "cast", "check_bytes", "item_size", "little"]

EmbedDtype = Literal["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]
"""vLLM's names."""

Endianness = Literal["native", "little", "big"]
"""vLLM's names. native: the byte order of this machine."""

Bits = npt.NDArray[Any]


def cast(rows: VectorRows, dtype: EmbedDtype = "float32", endianness: Endianness = "little") -> Bits:
    """Convert to a type and byte order.

    Raises BadRequest for a number that exceeds the range of the type.
    """
    bits = rows if dtype == "float32" else _CASTS[dtype](rows)
    return bits.astype(bits.dtype.newbyteorder("<" if little(endianness) else ">"), copy=False)


def check_bytes(encoding: str, dtype: EmbedDtype | None, endianness: Endianness | None, *, instead: str) -> None:
    """Check that a type and a byte order are not requested for numbers in JSON (`encoding`), which have neither.

    `instead`: encodings that have both. Raises BadRequest.
    """
    for field, value in (("embed_dtype", dtype), ("endianness", endianness)):
        if value not in (None, "float32", "little", "native"):
            raise BadRequest(f"{field} is not valid with encoding_format {encoding}: use {instead}", param=field)


def little(endianness: Endianness) -> bool:
    """Whether the byte order is little-endian."""
    return endianness == "little" or (endianness == "native" and sys.byteorder == "little")


def item_size(dtype: EmbedDtype) -> int:
    """Bytes per number."""
    return {"float32": 4, "float16": 2, "bfloat16": 2}.get(dtype, 1)


def _float16(rows: VectorRows) -> Bits:
    with np.errstate(over="ignore", under="ignore"):
        found = rows.astype(np.float16)
    _refuse(~np.isfinite(found), "float16")
    return found


def _bfloat16(rows: VectorRows) -> Bits:
    """The upper half of float32's bits, rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(rows).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    found = rounded.astype(np.uint16)
    _refuse((found & 0x7F80) == 0x7F80, "bfloat16")  # noqa: PLR2004 all bits of the exponent: infinity
    return found


def _fp8(name: str, *, exponent_bits: int, last: int) -> Callable[[VectorRows], Bits]:
    """`last`: the code of the largest finite number."""
    mantissa_bits = 7 - exponent_bits
    codes = np.arange(last + 2)  # and the number that would follow the largest
    exponent, mantissa = codes >> mantissa_bits, codes & ((1 << mantissa_bits) - 1)
    bias = (1 << (exponent_bits - 1)) - 1
    whole = np.where(exponent > 0, 1 << mantissa_bits, 0) + mantissa
    values = np.ldexp(whole.astype(np.float64), np.maximum(exponent, 1) - bias - mantissa_bits)
    middles = ((values[:-1] + values[1:]) / 2).astype(np.float32)
    # A number in the middle goes to the even code: from an odd one up, from an even one down.
    highest = np.where(codes[:-1] % 2 == 0, middles, np.nextafter(middles, np.float32(0)))

    def convert(rows: VectorRows) -> Bits:
        found = np.searchsorted(highest, np.abs(rows), side="left").astype(np.uint8)
        _refuse(found > last, name)
        return found | (np.signbit(rows).astype(np.uint8) << np.uint8(7))

    return convert


_CASTS: Mapping[str, Callable[[VectorRows], Bits]] = {
    "float16": _float16,
    "bfloat16": _bfloat16,
    "fp8_e4m3": _fp8("fp8_e4m3", exponent_bits=4, last=0x7E),  # e4m3fn: 0x7f is NaN, there is no infinity
    "fp8_e5m2": _fp8("fp8_e5m2", exponent_bits=5, last=0x7B),
}


def _refuse(beyond: npt.NDArray[np.bool_], dtype: str) -> None:
    if beyond.any():
        message = f"embed_dtype: a vector has numbers that exceed the range of {dtype}: use float32, or normalize"
        raise BadRequest(message, param="embed_dtype")
