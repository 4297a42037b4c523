"""glibc's memory in the frontend: what is large is given back to the system as soon as it is freed."""

import ctypes
import gc

__all__ = ["collect", "return_large_blocks", "trim"]

_LIBC = ctypes.CDLL(None)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def return_large_blocks() -> None:
    """Map blocks of a MiB and more, bodies and their texts, each by itself.

    By itself glibc raises that limit to 32 MiB with the first ones, and keeps what lies below a block in use.
    """
    _LIBC.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
    _LIBC.mallopt(_M_TRIM_THRESHOLD, 1 << 22)
    _LIBC.mallopt(_M_ARENA_MAX, 2)  # each thread's own would keep the most that it ever had


def collect() -> None:
    """Free what is large and in a cycle, as exceptions of other threads are, with all that their frames hold.

    The collector runs seldom here: see server.
    """
    gc.collect()
    trim()


def trim() -> None:
    """Give all free memory back to the system. By itself glibc keeps the holes that unread answers leave."""
    _LIBC.malloc_trim(0)
