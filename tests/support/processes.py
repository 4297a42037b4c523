"""Processes by their ids."""

from pathlib import Path

__all__ = ["is_fork", "is_running", "private_memory"]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_fork(pid: int) -> bool:
    """Whether it runs, and the program of the process that forked it, by the kernel's flag PF_FORKNOEXEC."""
    try:
        flags = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[6]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(int(flags) & 0x40)


def private_memory(pid: int) -> int:
    """Bytes of memory that no other process shares."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return sum(int(fields[fields.index(f"Private_{kind}:") + 1]) for kind in ("Clean", "Dirty")) * 1024
