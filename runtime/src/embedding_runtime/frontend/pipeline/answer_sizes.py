"""The memory that the response of a request takes, at most. The request reserves it in `answer_budget`."""

from embedding_runtime.contract import Kind
from embedding_runtime.errors import RequestTooLarge
from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import RaggedRows
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["check_size", "dense_size", "output_size", "sparse_size", "unfinished_sparse_size"]

_BYTES_PER_NUMBER = 24
"""Peak memory per number of a response: float32, its JSON (10 to 12 bytes), and a copy of the whole body."""

_BYTES_PER_SCORE = 256
"""Same for a score or a label's probability: a Python dict, the name, and at least 40 characters of JSON."""

_BYTES_PER_TOKEN_NUMBER = 32
"""Same for a number of a token's vector, of which large responses have millions. Measured."""

_BYTES_PER_WEIGHT = 96
"""Same for a number of a sparse vector: value and index, the JSON of both with their names, and a copy of the body."""

_BYTES_PER_COMPUTED_WEIGHT = 8
"""Value and index of a sparse vector's number, before its JSON is written."""

_LARGEST = 1 << 28
"""Largest response with ragged rows. Dense ones are limited by the number of texts in a request."""


def dense_size(spec: ModelSpec, texts: TokenBatch) -> int:
    """The size of a response with one row for each text, in bytes."""
    one = _BYTES_PER_NUMBER if spec.kind is Kind.EMBEDDING_MODEL else _BYTES_PER_SCORE
    return len(texts) * spec.dimensions * one


def output_size(spec: ModelSpec, texts: TokenBatch, output: Output) -> int:
    """The largest possible size of one of several outputs in bytes."""
    if output is Output.PER_TEXT:
        return dense_size(spec, texts)
    return texts.tokens * (_BYTES_PER_WEIGHT if output is Output.SPARSE else spec.hidden * _BYTES_PER_TOKEN_NUMBER)


def unfinished_sparse_size(spec: ModelSpec, texts: TokenBatch) -> int:
    """The largest possible size of sparse vectors before their JSON is written, without the first one: one text does
    not wait.
    """
    most = None if spec.splade is None else spec.splade.most
    return (len(texts) - 1) * min(spec.dimensions, most or spec.dimensions) * _BYTES_PER_COMPUTED_WEIGHT


def sparse_size(rows: RaggedRows) -> int:
    """The size of a response with these sparse vectors in bytes."""
    return rows.values.size * _BYTES_PER_WEIGHT


def check_size(size: int, field: str) -> None:
    """Check the size of a response with ragged rows. Raises RequestTooLarge."""
    if size > _LARGEST:
        raise RequestTooLarge(
            f"{field}: the response would take {size >> 20} MiB of memory, and the maximum is {_LARGEST >> 20} MiB: "
            "send fewer or shorter texts",
            param=field,
        )
