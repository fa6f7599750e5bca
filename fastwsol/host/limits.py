"""What this process may use of its machine: memory and cores, which containers and batch systems may limit (Linux)."""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """The cores that this process may use: those that it is bound to, or as many as the time that a container leaves
    it comes to, rounded up. root: where /proc and /sys lie.
    """
    cores = len(os.sched_getaffinity(0))
    for folder, is_second in _groups(root, "cpu"):
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            names = ("cpu.max",) if is_second else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = (int(word) for name in names for word in (folder / name).read_text().split())
            if quota > 0 and period > 0:  # -1: no limit
                cores = min(cores, math.ceil(quota / period))
    return max(1, cores)


def memory_available(root: Path = _ROOT) -> int:
    """Bytes of memory that could be taken without swapping, on the machine and in every container around this process
    that has a limit. root: where /proc and /sys lie.
    """
    lines = (root / "proc/meminfo").read_text().splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    for folder, is_second in _groups(root, "memory"):
        limit, used, before = ("memory.max", "memory.current", "")
        if not is_second:
            limit, used, before = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
        with contextlib.suppress(OSError, ValueError):  # no such file, or `max`
            statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Pages of files count as used, and are given up before anything else is.
            cached = sum(int(statistics.get(f"{before}{kind}_file", 0)) for kind in ("inactive", "active"))
            in_use = int((folder / used).read_text()) - cached
            free = min(free, max(0, int((folder / limit).read_text()) - in_use))
    return free


def _groups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """The folders of the control groups of a kind that this process is in, from its own up to the root, each with
    whether it is of the second version.
    """
    try:
        groups = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except OSError:
        groups = []
    for _, controllers, path in groups:
        is_second = controllers == ""
        if is_second or controller in controllers.split(","):
            top = root / "sys/fs/cgroup" if is_second else root / "sys/fs/cgroup" / controller
            # In a container the path may be the host's, and its own limit stands at the top.
            for inner in (Path(path.lstrip("/")), *Path(path.lstrip("/")).parents):
                yield top / inner, is_second
