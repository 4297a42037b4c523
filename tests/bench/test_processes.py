import sys
from pathlib import Path

import psutil

from bench.processes import Tree
from support.runtime_server import until

STARTS_ANOTHER = """
import subprocess
child = subprocess.Popen(["sleep", "300"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""

COMPUTES_IN_A_CHILD = """
import subprocess, sys
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.3: pass"])
print("done", flush=True)
sys.stdin.read()
"""


def a_tree(script: str, directory: Path) -> Tree:
    return Tree([sys.executable, "-c", script], {}, directory / "log", piped=True)


def line(tree: Tree) -> str:
    assert tree.process.stdout
    return tree.process.stdout.readline().decode()


def test_children_end_with_their_process(tmp_path: Path) -> None:
    with a_tree(STARTS_ANOTHER, tmp_path) as tree:
        child = int(line(tree))
        assert psutil.pid_exists(child)

    assert tree.process.returncode is not None
    assert not psutil.pid_exists(child)


def test_cpu_time_includes_ended_children(tmp_path: Path) -> None:
    with a_tree(COMPUTES_IN_A_CHILD, tmp_path) as tree:
        line(tree)
        assert tree.cpu_seconds() >= 0.3


def test_memory_includes_the_whole_tree(tmp_path: Path) -> None:
    with a_tree(STARTS_ANOTHER, tmp_path) as tree:
        line(tree)
        tree.note_memory()
        assert tree.peak_memory > psutil.Process(tree.process.pid).memory_full_info().uss


def test_last_words_is_the_last_line_of_the_log(tmp_path: Path) -> None:
    with a_tree("import sys; sys.exit('no model here')", tmp_path) as tree:
        tree.process.wait()

        assert tree.last_words() == "no model here"


def test_pause_stops_all_processes_and_they_still_end(tmp_path: Path) -> None:
    with a_tree(STARTS_ANOTHER, tmp_path) as tree:
        both = [psutil.Process(pid) for pid in (tree.process.pid, int(line(tree)))]

        def stopped() -> bool:
            return all(each.status() == psutil.STATUS_STOPPED for each in both)

        tree.pause()
        until(stopped, "both stopped")
        with tree.resumed():
            until(lambda: not any(each.status() == psutil.STATUS_STOPPED for each in both), "both run again")
        until(stopped, "both stopped again")

    assert not any(each.is_running() for each in both)
