"""Memory of a server's processes on CPUs, in bytes: docs/performance.md."""

from embedding_runtime.contract.serve import ServeArgs
from embedding_runtime.contract.terms import BackendName, Dtype, Quantization

__all__ = ["FRONTEND_BYTES", "WORKER_BYTES", "least_memory"]

WORKER_BYTES = 700 << 20
"""Memory of a worker in addition to its weights, for libraries and batches."""

FRONTEND_BYTES = 400 << 20
"""Memory of a frontend with the scheduler, including what clients may make it hold."""


def least_memory(args: ServeArgs, weights: int) -> int | None:
    """The least memory that a server needs under load, for a model whose files have so many bytes of weights.

    None: not known, for a backend that loads none. The weights count as in the files, or as small as the flags may make
    them. Some servers need more: copies of weights that a library makes, further workers, vLLM's cache.
    """
    if args.backend is BackendName.FAKE:
        return None
    if args.quantize is not Quantization.NONE:
        weights //= 4  # float32 to 8 bits
    elif args.dtype in (Dtype.FLOAT16, Dtype.BFLOAT16):
        weights //= 2  # they may be float32 in the files
    return weights + WORKER_BYTES + FRONTEND_BYTES
