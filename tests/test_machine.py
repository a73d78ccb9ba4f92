"""What the machine allows (limits) and what it measures (machine)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rather import limits, machine
from rather.errors import BadSetting

GIB = 1 << 30


def system(root: Path, files: dict[str, str]) -> Path:
    """A tree with /proc and /sys files: 16 GiB of memory, 8 GiB available, and `files`."""
    meminfo = f"MemTotal: {16 << 20} kB\nMemFree: 1 kB\nMemAvailable: {8 << 20} kB\n"
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_without_control_groups_the_machine_is_ours(tmp_path):
    root = system(tmp_path, {})
    assert limits.cores(root) == len(os.sched_getaffinity(0))
    assert limits.memory(root) == limits.Memory(16 * GIB, 8 * GIB)


@pytest.mark.parametrize(("quota", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("max 100000", None)])
def test_a_quota_of_version_2_limits_cores(tmp_path, quota, cores):
    root = system(tmp_path, {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": quota + "\n"})
    assert limits.cores(root) == (cores or len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(("quota", "cores"), [("100000", 1), ("-1", None)])
def test_a_quota_of_version_1_limits_cores(tmp_path, quota, cores):
    folder = "sys/fs/cgroup/cpu,cpuacct/docker/x/"  # the link `cpu` points to this folder, as systems have it
    root = system(tmp_path, {folder + "cpu.cfs_quota_us": quota, folder + "cpu.cfs_period_us": "100000"})
    (root / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    system(root, {"proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n0::/\n"})
    assert limits.cores(root) == (cores or len(os.sched_getaffinity(0)))


def test_memory_is_the_smallest_limit_on_the_way_up_and_page_cache_is_free(tmp_path):
    root = system(
        tmp_path,
        {
            "proc/self/cgroup": "0::/pod/job\n",
            "sys/fs/cgroup/pod/job/memory.max": "max",
            "sys/fs/cgroup/pod/memory.max": str(4 * GIB),
            "sys/fs/cgroup/pod/memory.current": str(3 * GIB),
            "sys/fs/cgroup/pod/memory.stat": f"anon {GIB}\ninactive_file {2 * GIB}\n",
        },
    )
    assert limits.memory(root) == limits.Memory(4 * GIB, 3 * GIB)  # 4 - 3 used + 2 that are cache


def test_memory_of_version_1(tmp_path):
    folder = "sys/fs/cgroup/memory/"
    no_limit = {folder + "memory.limit_in_bytes": str(2**63 - 4096), folder + "memory.usage_in_bytes": str(GIB)}
    root = system(tmp_path, {"proc/self/cgroup": "5:memory:/outside/our/view\n", **no_limit})
    assert limits.memory(root) == limits.Memory(16 * GIB, 8 * GIB)
    system(root, {folder + "memory.limit_in_bytes": str(2 * GIB)})
    assert limits.memory(root) == limits.Memory(2 * GIB, GIB)


def test_the_processor_and_its_matrix_instructions(tmp_path):
    info = "processor : 0\nmodel name : A Processor\nflags : fpu avx2 amx_bf16 amx_tile avx512_bf16\n"
    root = system(tmp_path, {"proc/cpuinfo": info})
    assert limits.processor(root) == limits.Processor("A Processor", ("avx2", "avx512_bf16", "amx_bf16"))


def test_locks_are_tried(tmp_path):
    assert limits.locks_work(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_rates_are_measured_once_and_leave_the_thread_count_alone():
    before = torch.get_num_threads()
    rate = machine.matmul_rate(torch.float32, threads=before + 1)
    assert rate == machine.matmul_rate(torch.float32, threads=before + 1)
    assert rate > 1e6
    assert torch.get_num_threads() == before


def test_step_times_cover_one_thread_and_all_cores():
    before = torch.get_num_threads()
    times = machine.step_times()
    assert {1, limits.cores()} <= set(times)
    assert torch.get_num_threads() == before


def test_more_threads_are_taken_only_where_they_gain_more_than_noise():
    assert machine.fewest_near_best({1: 1.00, 2: 0.96, 4: 0.99}) == 1
    assert machine.fewest_near_best({1: 1.00, 2: 0.52, 4: 0.50}) == 2
    assert machine.fewest_near_best({1: 1.00, 2: 5.00}) == 1


def test_a_thread_count_that_was_asked_for_is_obeyed():
    code = "from rather import machine; print(machine.best_threads(), machine.step_times.cache_info().misses)"
    asked = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=asked, check=True)
    assert done.stdout.split() == ["1", "0"]


def test_precision_by_name_and_by_measurement():
    assert machine.precision("fp32") is torch.float32
    assert machine.precision("bf16") is torch.bfloat16
    faster = machine.matmul_rate(torch.bfloat16) / machine.matmul_rate(torch.float32)
    assert machine.precision("auto") is (torch.bfloat16 if faster >= 1.5 else torch.float32)
    with pytest.raises(BadSetting, match="Did you mean 'bf16'"):
        machine.precision("bf1")
