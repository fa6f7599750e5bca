"""`host/device.py`, `host/limits.py`: what a machine has, as far as it can be told on any machine."""

import pytest
import torch

from fastwsol.host.device import autocast_of_run, pick_device, take_device
from fastwsol.host.environment import machine as machine_of
from fastwsol.host.errors import UserError
from fastwsol.host.limits import memory_available, usable_cores

MB = 2**20


def machine(root, available, groups=(), files=()):
    """A machine's files below `root`. files: path, text."""
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "meminfo").write_text(f"MemTotal: 99999999 kB\nMemAvailable: {available // 1024} kB\n")
    (root / "proc" / "self" / "cgroup").write_text("".join(f"{line}\n" for line in groups))
    for path, text in files:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(f"{text}\n")
    return root


def of_group(folder, limit, used, cached, names=("memory.max", "memory.current", "inactive_file")):
    values = (limit, used)
    return [(f"{folder}/{name}", value) for name, value in zip(names, values, strict=False)] + [
        (f"{folder}/memory.stat", f"anon 1\n{names[2]} {cached}")
    ]


def test_without_a_limit_what_is_free_is_the_machines(tmp_path):
    assert memory_available(machine(tmp_path, 900 * MB)) == 900 * MB


def test_of_a_containers_limit_what_is_used_is_not_free(tmp_path):
    files = of_group("sys/fs/cgroup", 500 * MB, 450 * MB, 100 * MB)
    assert memory_available(machine(tmp_path, 900 * MB, ["0::/"], files)) == 150 * MB, "cached pages can be had"


def test_a_limit_above_a_group_counts_too_and_max_is_none(tmp_path):
    files = of_group("sys/fs/cgroup/outer", 300 * MB, 200 * MB, 0) + of_group("sys/fs/cgroup/outer/own", "max", 9, 0)
    assert memory_available(machine(tmp_path, 900 * MB, ["0::/outer/own"], files)) == 100 * MB


def test_the_older_control_groups_are_read(tmp_path):
    names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    files = of_group("sys/fs/cgroup/memory/own", 400 * MB, 350 * MB, 50 * MB, names)
    assert memory_available(machine(tmp_path, 900 * MB, ["5:cpu:/x", "4:memory:/own"], files)) == 100 * MB


def test_pages_of_files_in_use_can_be_had_too(tmp_path):
    """As those of a store that was just written and hashed."""
    files = of_group("sys/fs/cgroup", 500 * MB, 450 * MB, 100 * MB)
    (_, used, (statistics, text)) = files
    files = [files[0], used, (statistics, f"{text}\nactive_file {200 * MB}")]
    assert memory_available(machine(tmp_path, 900 * MB, ["0::/"], files)) == 350 * MB


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ([], [], 64),
        (["0::/"], [("sys/fs/cgroup/cpu.max", "max 100000")], 64),
        (["0::/own"], [("sys/fs/cgroup/cpu.max", "250000 100000"), ("sys/fs/cgroup/own/cpu.max", "max 100000")], 3),
        (["0::/"], [("sys/fs/cgroup/cpu.max", "50000 100000")], 1),
        (
            ["4:cpu,cpuacct:/a"],
            [("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "200000"), ("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000")],
            2,
        ),
        (
            ["4:cpu:/"],
            [("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1"), ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000")],
            64,
        ),
    ],
)
def test_a_containers_share_of_the_cores_is_all_that_is_used(tmp_path, monkeypatch, groups, files, cores):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(64))
    assert usable_cores(machine(tmp_path, 900 * MB, groups, files)) == cores


def test_a_container_that_uses_more_than_its_limit_has_nothing_left(tmp_path):
    files = of_group("sys/fs/cgroup", 100 * MB, 150 * MB, 0)
    assert memory_available(machine(tmp_path, 900 * MB, ["0::/"], files)) == 0


def test_what_was_trained_in_fp16_computes_in_fp32_on_a_cpu():
    cpu = torch.device("cpu")
    assert autocast_of_run("auto", "fp16", cpu).precision == "fp32"
    assert autocast_of_run("auto", "bf16", cpu).precision == "bf16"
    assert autocast_of_run("bf16", "fp16", cpu).precision == "bf16"
    with pytest.raises(UserError, match="--precision fp16: needs a CUDA device"):
        autocast_of_run("fp16", "fp16", cpu)


@pytest.mark.parametrize(("name", "processes"), [("cuda", 1), ("cuda:0", 1), ("cuda", 2)])
def test_a_card_that_torch_cannot_use_is_none(monkeypatch, name, processes):
    """The driver counts it, but it is older than torch's CUDA: what asks the card anything fails."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine_of()["gpus"] == []
    assert pick_device("auto").type == "cpu"
    with pytest.raises(UserError, match="torch can use none of this machine's 2 CUDA devices"):
        take_device(name, 0, processes)
