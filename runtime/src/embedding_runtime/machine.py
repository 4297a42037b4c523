"""Detects the cores, memory and GPUs that this process may use, and divides them among the processes of a server."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from embedding_runtime.contract import FRONTEND_BYTES, WORKER_BYTES, BackendName, ServeArgs

__all__ = ["Layout", "Machine", "WorkerShare", "detect", "divide"]

CORES_PER_WORKER = 2
"""On CPUs. Two concurrent batches on one core each are faster than any team of threads: docs/performance.md."""

FORKED_WORKER_BYTES = 400 << 20
"""Memory of each further worker on CPUs, for batches only: weights and libraries are shared."""

CORES_PER_FRONTEND = 16
"""On CPUs. One frontend can feed this many cores, even with one text per request: docs/performance.md."""

FRONTENDS_PER_GPU = 8
"""At most; they get half of the cores. A small model on an H200 needs all of them: docs/performance.md."""

WORKERS_PER_GPU = 2
"""For models limited by launch overhead: each worker launches kernels from its own core. docs/performance.md."""

LAUNCH_BOUND_WEIGHTS = 256 << 20
"""Size of such models, at most. MiniLM has 90 MB. BERT-base, with 440 MB, keeps a GPU busy from one worker."""

VLLM_ENGINES_PER_GPU = 4
"""For models that vLLM's Python code limits: each engine runs on its own core. docs/performance.md."""

SMALL_WEIGHTS = 1 << 30
"""Size of models with several vLLM engines per GPU, at most."""

CORES_PER_GPU_WORKER = 4
"""Needed for each of several workers on a GPU, including the frontends that feed it."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKENIZERS_NUM_THREADS",
)
"""Environment variables for the thread pools of libraries."""


@dataclass(frozen=True)
class Machine:
    """The resources that this process may use."""

    cores: tuple[int, ...]
    """Numbers of the cores in its affinity (cpuset or taskset)."""
    quota: float | None = None
    """CPU quota of its cgroup, in cores; None: no limit."""
    threads: int | None = None
    """OMP_NUM_THREADS, if it is set."""
    gpus: tuple[str, ...] = ()
    """Names as in CUDA_VISIBLE_DEVICES."""
    memory: int | None = None
    """Memory limit of its cgroup in bytes; None: no limit."""
    is_contained: bool = False
    """Whether it runs in its own cgroup, apart from other processes."""

    @property
    def usable(self) -> int:
        """The number of whole cores, at least 1."""
        limits = [len(self.cores), *(math.floor(limit) for limit in (self.quota, self.threads) if limit is not None)]
        return max(1, min(limits))


@dataclass(frozen=True)
class WorkerShare:
    """One worker's part of the machine."""

    threads: int
    cores: tuple[int, ...] = ()
    """Cores that it is pinned to; empty: not pinned."""
    gpu: str | None = None
    workers_on_gpu: int = 1

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that set every thread pool to `threads`, and select the GPU."""
        threads = dict.fromkeys(THREAD_VARIABLES, str(self.threads))
        return threads if self.gpu is None else {**threads, "CUDA_VISIBLE_DEVICES": self.gpu}


@dataclass(frozen=True)
class Layout:
    """The processes of a server. A single frontend shares the scheduler's process."""

    frontends: int
    workers: tuple[WorkerShare, ...]
    forks: bool = False
    """Whether the workers are copies of one process that has loaded the model, and share its memory."""


def divide(args: ServeArgs, machine: Machine, weights: int) -> Layout:
    """Decide the number of workers and frontends, and each worker's share. Pure. `weights`: size in bytes."""
    gpus = () if args.backend is BackendName.FAKE else machine.gpus
    count = args.workers if isinstance(args.workers, int) else _workers(args.backend, machine, gpus, weights)
    frontends = args.frontends if isinstance(args.frontends, int) else _frontends(machine, gpus)
    threads = max(1, machine.usable // count)
    if gpus:
        on_gpu = [gpus[number % len(gpus)] for number in range(count)]
        return Layout(frontends, tuple(WorkerShare(threads, (), gpu, on_gpu.count(gpu)) for gpu in on_gpu))
    # With a CPU quota, other containers share the cores, and the kernel knows best which are free: do not pin.
    pins = count > 1 and machine.usable == len(machine.cores) >= count
    cores = [machine.cores[n * threads : (n + 1) * threads] if pins else () for n in range(count)]
    forks = count > 1 and args.backend is BackendName.HUGGINGFACE
    return Layout(frontends, tuple(WorkerShare(threads, each) for each in cores), forks)


def _workers(backend: BackendName, machine: Machine, gpus: Sequence[str], weights: int) -> int:
    if gpus:
        fit = machine.usable // (CORES_PER_GPU_WORKER * len(gpus))
        return max(1, min(_most_on_gpu(backend, weights), fit)) * len(gpus)
    if backend is not BackendName.HUGGINGFACE:
        return 1  # one engine of vLLM uses all cores, and takes 1 GiB for its cache
    fit = machine.usable
    if machine.memory is not None:
        fit = 1 + (machine.memory - FRONTEND_BYTES - WORKER_BYTES - 2 * weights) // FORKED_WORKER_BYTES
    return max(1, min(machine.usable // CORES_PER_WORKER, fit))


def _most_on_gpu(backend: BackendName, weights: int) -> int:
    """Number of workers that one GPU serves faster than a single one."""
    if backend is not BackendName.HUGGINGFACE:  # auto means vLLM for most models, where it is installed
        return VLLM_ENGINES_PER_GPU if weights <= SMALL_WEIGHTS else 1
    return WORKERS_PER_GPU if weights <= LAUNCH_BOUND_WEIGHTS else 1


def _frontends(machine: Machine, gpus: Sequence[str]) -> int:
    if gpus:
        return max(1, min(FRONTENDS_PER_GPU * len(gpus), machine.usable // 2))
    return max(1, machine.usable // CORES_PER_FRONTEND)


def detect(environ: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Machine:
    """Detect resources from the affinity, the cgroup, the environment and the devices below `root`."""
    threads = environ.get("OMP_NUM_THREADS", "")
    return Machine(
        cores=tuple(sorted(os.sched_getaffinity(0))),
        quota=_quota(root),
        memory=_memory(root),
        threads=int(threads) if threads.isdecimal() and int(threads) else None,
        gpus=_gpus(environ, root),
        is_contained=_is_contained(environ, root),
    )


def _cgroup(root: Path, controller: str) -> str | None:
    """The path of this process's cgroup: of version 2 (controller ""), or of a controller in version 1."""
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return None


def _quota(root: Path) -> float | None:
    """The lowest limit of its cgroup and its parents."""
    found: list[float] = []
    unified, cpu = _cgroup(root, ""), _cgroup(root, "cpu")
    if unified is not None:
        for folder in _upwards(root / "sys/fs/cgroup", unified):
            found += [int(quota) / int(period) for quota, period in _words(folder / "cpu.max", 2) if quota != "max"]
    if cpu is not None:
        for mount in ("cpu", "cpu,cpuacct"):
            for folder in _upwards(root / "sys/fs/cgroup" / mount, cpu):
                quota, period = _lines(folder / "cpu.cfs_quota_us"), _lines(folder / "cpu.cfs_period_us")
                found += [int(quota[0]) / int(period[0])] if quota and period and int(quota[0]) > 0 else []
    return min(found, default=None)


def _memory(root: Path) -> int | None:
    """The lowest limit of its cgroup and its parents."""
    folders: list[Path] = []
    for controller, mount, name in (("", "", "memory.max"), ("memory", "memory", "memory.limit_in_bytes")):
        path = _cgroup(root, controller)
        folders += [] if path is None else [each / name for each in _upwards(root / "sys/fs/cgroup" / mount, path)]
    limits = [int(word) for folder in folders for word in _lines(folder)[:1] if word.isdecimal()]
    return min((limit for limit in limits if limit < _NO_LIMIT), default=None)


_NO_LIMIT = 1 << 60
"""cgroup version 1 has a number near 2**63 if there is no limit."""


def _upwards(mount: Path, path: str) -> Sequence[Path]:
    """The directories of a cgroup and its parents. In a container the mount itself may be the cgroup."""
    folder = mount / path.lstrip("/")
    if ".." in folder.parts or not folder.is_dir():
        return [mount]
    return [folder, *(above for above in folder.parents if above.is_relative_to(mount))]


def _gpus(environ: Mapping[str, str], root: Path) -> tuple[str, ...]:
    """All GPUs that the process can see, numbered from 0 by CUDA."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return tuple(name for name in names if name and name not in {"-1", "NoDevFiles", "none", "void"})
    devices = sum(path.name.removeprefix("nvidia").isdecimal() for path in (root / "dev").glob("nvidia*"))
    return tuple(map(str, range(devices)))


def _is_contained(environ: Mapping[str, str], root: Path) -> bool:
    if "KUBERNETES_SERVICE_HOST" in environ or any((root / mark).exists() for mark in _MARKS):
        return True
    # In a cgroup namespace the path is /, too, but only the root of the machine has no cpu.max.
    return _cgroup(root, "") == "/" and (root / "sys/fs/cgroup/cpu.max").exists()


_MARKS = (".dockerenv", "run/.containerenv")


def _words(path: Path, number: int) -> Sequence[Sequence[str]]:
    return [words for words in (line.split() for line in _lines(path)) if len(words) == number]


def _lines(path: Path) -> Sequence[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return ()
