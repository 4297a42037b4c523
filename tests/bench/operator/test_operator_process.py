import os
from pathlib import Path

from bench.operator.operator_process import Memory, parse_cpu_seconds, parse_memory

TICKS = os.sysconf("SC_CLK_TCK")


def test_cpu_time_is_that_of_user_and_system_whatever_the_command_is_called() -> None:
    stat = f"7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 {2 * TICKS} {TICKS} 900 900 20 0 1 0 5 6 7"

    assert parse_cpu_seconds(stat) == 3


def test_memory_is_what_is_resident_now_and_at_most() -> None:
    assert parse_memory("Name:\tpython\nVmHWM:\t  4096 kB\nVmRSS:\t  2048 kB\nThreads:\t1\n") == Memory(2, 4)


def test_the_kernel_of_this_machine_writes_what_is_parsed() -> None:
    assert parse_cpu_seconds(Path("/proc/self/stat").read_text()) > 0
    assert parse_memory(Path("/proc/self/status").read_text()).peak > 1
