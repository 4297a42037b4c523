"""Decode texts from binary tensor data: for each its length (four bytes, little-endian), then its UTF-8."""

from embedding_runtime.errors import BadRequest

__all__ = ["HEADER", "texts_in"]

HEADER = "Inference-Header-Content-Length"
"""Size of the JSON at the start of the body, in bytes."""

_LENGTH = 4


def texts_in(data: bytes) -> list[str]:
    """All texts of the data. Raises BadRequest."""
    texts: list[str] = []
    start = 0
    while start < len(data):
        end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH], "little")
        if end > len(data):
            raise BadRequest(f"inputs: text {len(texts)} is longer than the rest of the binary data", param="inputs")
        try:
            texts.append(data[start + _LENGTH : end].decode())
        except UnicodeDecodeError:
            raise BadRequest(f"inputs: text {len(texts)} of the binary data is not UTF-8", param="inputs") from None
        start = end
    return texts
