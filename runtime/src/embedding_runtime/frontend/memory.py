"""Settings of glibc's allocator for the frontend: freed large blocks are returned to the system."""

import ctypes
import gc

__all__ = ["collect", "return_large_blocks", "trim"]

_LIBC = ctypes.CDLL(None)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def return_large_blocks() -> None:
    """Allocate blocks of 1 MiB and more, such as bodies, with mmap.

    By default glibc raises this threshold up to 32 MiB, and keeps free memory below a block in use.
    """
    _LIBC.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    _LIBC.mallopt(_M_TRIM_THRESHOLD, 1 << 22)
    _LIBC.mallopt(_M_ARENA_MAX, 2)  # each arena keeps its peak


def collect() -> None:
    """Run the garbage collector and trim. Exceptions of other threads are in cycles, with all that their frames hold.

    Automatic collections are rare here: see server.
    """
    gc.collect()
    trim()


def trim() -> None:
    """Return all free memory to the system. By default glibc keeps the gaps that responses leave."""
    _LIBC.malloc_trim(0)
