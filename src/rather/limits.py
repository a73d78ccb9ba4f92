"""What the operating system lets this process have: cores, memory, locks, and what the processor can do.

Inside a container the kernel's own files show the whole machine, so the control group's limits are read as well
(both versions, every level up to the root). `root` is where /proc and /sys are; only tests pass another one.
"""

from __future__ import annotations

import fcntl
import os
import platform
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")
# Instructions that decide how fast matrices are multiplied, on x86 and on Arm.
FEATURES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


@dataclass(frozen=True)
class Memory:
    total: int  # bytes this process may use, whatever the machine has
    available: int  # bytes of it that are free or can be freed at once


@dataclass(frozen=True)
class Processor:
    model: str
    features: tuple[str, ...]


def cores(root: Path = ROOT) -> int:
    """Cores this process may keep busy: the affinity mask, and the control group's quota rounded down."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for folder in _control_groups("cpu", root):
        quota = _words(folder / "cpu.max") or _words(folder / "cpu.cfs_quota_us") + _words(folder / "cpu.cfs_period_us")
        if len(quota) == 2 and quota[0] not in ("max", "-1"):
            count = min(count, int(quota[0]) // int(quota[1]))
    return max(1, count)


def memory(root: Path = ROOT) -> Memory:
    known = dict(line.split(":", 1) for line in _lines(root / "proc/meminfo") if ":" in line)
    if "MemTotal" not in known:  # not Linux: the whole memory, and nobody says how much of it is free
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Memory(total, total)
    total, available = (1024 * int(known[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
    for folder in _control_groups("memory", root):
        limit = _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes") or ["max"]
        if limit == ["max"] or int(limit[0]) >= total:  # version 1 says "no limit" as a number near 2**63
            continue
        used = _words(folder / "memory.current") or _words(folder / "memory.usage_in_bytes") or ["0"]
        # Pages of files count as used and go when the memory is needed.
        counts = dict(line.split() for line in _lines(folder / "memory.stat"))
        cached = int(counts.get("total_inactive_file", counts.get("inactive_file", 0)))
        total = int(limit[0])
        available = min(available, max(0, total - int(used[0]) + cached))
    return Memory(total, min(available, total))


def processor(root: Path = ROOT) -> Processor:
    known: dict[str, str] = {}
    for line in _lines(root / "proc/cpuinfo"):
        name, _, value = line.partition(":")
        known.setdefault(name.strip(), value.strip())
    has = (known.get("flags") or known.get("Features") or "").split()
    return Processor(
        known.get("model name") or platform.processor() or platform.machine(), tuple(f for f in FEATURES if f in has)
    )


def locks_work(folder: Path) -> bool:
    """Whether a second lock on one file is refused: some network and desktop file systems say yes to everybody."""
    with tempfile.NamedTemporaryFile(dir=folder) as first, open(first.name) as second:
        try:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _control_groups(controller: str, root: Path) -> Iterator[Path]:
    """Folders of this process's control group from its own up to the root of the mount: each level can set a limit."""
    mount = root / "sys/fs/cgroup"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = mount / controller if controllers else mount / "unified" if (mount / "unified").is_dir() else mount
        folder = top / path.strip("/")
        while folder != top and top in folder.parents:
            yield folder
            folder = folder.parent
        yield top


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:  # another system, or not shown to this container: then it sets no limit that we could know
        return []


def _words(file: Path) -> list[str]:
    return " ".join(_lines(file)).split()
