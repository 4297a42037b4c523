"""Detection of cores and GPUs from files of the test, and their division among processes."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.machine import Layout, Machine, WorkerShare, detect, divide

GIB = 1 << 30


def a_root(directory: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def args(backend: BackendName = BackendName.HUGGINGFACE, **flags: int) -> ServeArgs:
    return ServeArgs(model_name="m", backend=backend, **flags)


def cores(number: int, **limits: object) -> Machine:
    return Machine(tuple(range(number)), **limits)  # type: ignore[arg-type]


def test_a_quota_of_cgroup_2_is_read_in_a_container(tmp_path: Path) -> None:
    root = a_root(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "350000 100000\n"})
    machine = detect({}, root)
    assert machine.quota == 3.5
    assert machine.is_contained


def test_the_lowest_quota_of_the_cgroups_above_counts(tmp_path: Path) -> None:
    root = a_root(
        tmp_path,
        {
            "proc/self/cgroup": "0::/a/b\n",
            "sys/fs/cgroup/a/cpu.max": "200000 100000",
            "sys/fs/cgroup/a/b/cpu.max": "max 100000",
        },
    )
    assert detect({}, root).quota == 2


def test_a_quota_of_cgroup_1_is_read(tmp_path: Path) -> None:
    root = a_root(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/pod\n2:cpu,cpuacct:/pod\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": str(2 * GIB),
        },
    )
    machine = detect({}, root)
    assert (machine.quota, machine.memory) == (1.5, 2 * GIB)


def test_a_missing_limit_is_none(tmp_path: Path) -> None:
    root = a_root(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user.slice\n4:memory:/\n1:cpu:/\n",
            "sys/fs/cgroup/user.slice/cpu.max": "max 100000",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
        },
    )
    machine = detect({}, root)
    assert (machine.quota, machine.memory, machine.is_contained) == (None, None, False)


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_a_container_is_detected(tmp_path: Path, mark: str) -> None:
    assert detect({}, a_root(tmp_path, {mark: ""})).is_contained


@pytest.mark.parametrize(
    ("visible", "gpus"),
    [(None, ("0", "1")), ("1", ("1",)), ("GPU-a, GPU-b", ("GPU-a", "GPU-b")), ("", ()), ("-1", ()), ("NoDevFiles", ())],
)
def test_gpus_are_those_of_the_pod_unless_cuda_visible_devices_is_set(
    tmp_path: Path, visible: str | None, gpus: tuple[str, ...]
) -> None:
    root = a_root(tmp_path, {"dev/nvidia0": "", "dev/nvidia1": "", "dev/nvidiactl": "", "dev/nvidia-uvm": ""})
    assert detect({} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}, root).gpus == gpus


@pytest.mark.parametrize(
    ("machine", "usable"),
    [
        (cores(8), 8),
        (cores(8, quota=2.5), 2),
        (cores(8, quota=0.5), 1),
        (cores(2, quota=16.0), 2),
        (cores(8, threads=4), 4),
    ],
)
def test_the_lowest_limit_of_cores_counts(machine: Machine, usable: int) -> None:
    assert machine.usable == usable


@pytest.mark.parametrize(("number", "workers"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4), (16, 8)])
def test_a_worker_has_two_cores(number: int, workers: int) -> None:
    layout = divide(args(), cores(number), 0)
    assert len(layout.workers) == workers
    assert {share.threads for share in layout.workers} == {number // workers}


def test_workers_are_pinned_to_separate_cores() -> None:
    layout = divide(args(), Machine((4, 5, 6, 7)), 0)
    assert [share.cores for share in layout.workers] == [(4, 5), (6, 7)]


def test_one_worker_is_not_pinned() -> None:
    assert divide(args(), cores(2), 0) == Layout(1, (WorkerShare(2),))


def test_with_a_cpu_quota_workers_are_not_pinned() -> None:
    layout = divide(args(), cores(64, quota=4.0), 0)
    assert [(share.threads, share.cores) for share in layout.workers] == [(2, ()), (2, ())]


def test_workers_are_limited_by_memory() -> None:
    assert len(divide(args(), cores(16, memory=3 * GIB), 90 << 20).workers) == 5
    assert len(divide(args(), cores(16, memory=2 * GIB), 90 << 20).workers) == 2
    assert len(divide(args(), cores(16, memory=GIB), 90 << 20).workers) == 1
    assert len(divide(args(), cores(16, memory=GIB // 4), 90 << 20).workers) == 1


@pytest.mark.parametrize(
    ("backend", "number", "gpus", "forks"),
    [
        (BackendName.HUGGINGFACE, 2, (), True),
        (BackendName.HUGGINGFACE, 1, (), False),
        (BackendName.HUGGINGFACE, 2, ("0",), False),
        (BackendName.VLLM, 2, (), False),
        (BackendName.FAKE, 2, (), False),
    ],
)
def test_several_huggingface_workers_on_cpus_are_forked(
    backend: BackendName, number: int, gpus: tuple[str, ...], *, forks: bool
) -> None:
    assert divide(args(backend, workers=number), cores(8, gpus=gpus), 0).forks == forks


def test_every_gpu_has_a_worker_that_sees_only_this_gpu() -> None:
    layout = divide(args(), cores(16, gpus=("0", "1")), GIB)
    assert [share.environment["CUDA_VISIBLE_DEVICES"] for share in layout.workers] == ["0", "1"]
    assert layout.frontends == 8


@pytest.mark.parametrize(("number", "frontends"), [(1, 1), (2, 1), (4, 2), (16, 8), (64, 8)])
def test_frontends_of_a_gpu_have_half_of_the_cores(number: int, frontends: int) -> None:
    assert divide(args(), cores(number, gpus=("0",)), 0).frontends == frontends


@pytest.mark.parametrize(("number", "gpus", "engines"), [(2, 1, 1), (8, 1, 2), (16, 1, 4), (64, 1, 4), (16, 2, 4)])
def test_a_small_model_has_several_vllm_engines_per_gpu(number: int, gpus: int, engines: int) -> None:
    machine = cores(number, gpus=tuple(map(str, range(gpus))))
    layout = divide(args(BackendName.VLLM), machine, 90 << 20)
    assert [share.workers_on_gpu for share in layout.workers] == [engines // gpus] * engines


@pytest.mark.parametrize(("number", "workers"), [(2, 1), (4, 1), (8, 2), (16, 2)])
def test_a_small_model_has_two_workers_per_gpu_if_cores_suffice(number: int, workers: int) -> None:
    layout = divide(args(), cores(number, gpus=("0",)), 90 << 20)
    assert [share.workers_on_gpu for share in layout.workers] == [workers] * workers


def test_the_automatic_backend_has_as_many_workers_as_vllm() -> None:
    assert len(divide(args(BackendName.AUTO), cores(16, gpus=("0",)), 90 << 20).workers) == 4


def test_a_model_that_keeps_a_gpu_busy_has_one_worker() -> None:
    assert len(divide(args(), cores(16, gpus=("0",)), 440 << 20).workers) == 1


def test_a_large_model_has_one_vllm_engine_per_gpu() -> None:
    assert len(divide(args(BackendName.VLLM), cores(16, gpus=("0",)), 8 * GIB).workers) == 1


def test_more_workers_than_gpus_share_them() -> None:
    layout = divide(args(workers=4), cores(16, gpus=("0", "1")), 0)
    assert [(share.gpu, share.workers_on_gpu) for share in layout.workers] == [("0", 2), ("1", 2)] * 2


def test_all_thread_pools_have_the_same_number() -> None:
    assert set(WorkerShare(3).environment.values()) == {"3"}


def test_explicit_flags_are_used() -> None:
    layout = divide(args(workers=3, frontends=2), cores(2), 0)
    assert (layout.frontends, len(layout.workers)) == (2, 3)
    assert {share.threads for share in layout.workers} == {1}


@pytest.mark.parametrize(("number", "frontends"), [(1, 1), (2, 1), (16, 1), (32, 2)])
def test_on_cpus_one_frontend_feeds_many_cores(number: int, frontends: int) -> None:
    assert divide(args(), cores(number), 0).frontends == frontends


def test_vllm_has_one_worker_on_cpus_whose_engine_uses_all_cores() -> None:
    assert divide(args(BackendName.VLLM), cores(16), 0).workers == (WorkerShare(16),)


def test_the_fake_backend_needs_neither_gpus_nor_several_workers() -> None:
    layout = divide(args(BackendName.FAKE), cores(16, gpus=("0",)), 0)
    assert [share.gpu for share in layout.workers] == [None]
