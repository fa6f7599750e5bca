"""Promise 12: a training that goes on and on, with evaluations and checkpoints, takes no more memory and no more files,
and one that is stopped two hundred times comes to the same end.
"""

import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from equal import end_of

from .dying import Trial
from .tally import Tally
from .works import train_small

PROMISE = "12 soak"
MINUTES = {"dali": 30, "resident": 10}
MORE = 1.02
"""Most memory at the end, of what there was once all was warm."""
MORE_IN_SECONDS = 1.05
"""Without --full, in which the allocator may take its last piece between the two."""
CONTINUATIONS = 200
EPOCH_STEPS = 5


class Sample(NamedTuple):
    """What a process holds."""

    resident_bytes: int
    opened: int
    """Files and the like."""
    kept: int
    """Files in the run's folder."""


def sample(pid: int, run: Path) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    opened = len(os.listdir(f"/proc/{pid}/fd"))
    return Sample(pages * os.sysconf("SC_PAGE_SIZE"), opened, sum(1 for _ in run.rglob("*")))


@pytest.mark.parametrize("data", MINUTES)
def test_memory_and_files_stay_flat(
    data: str, synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """An evaluation every fifth step, a checkpoint after each: the third fifth of all samples against the last."""
    run, log = tmp_path / "run", tmp_path / "log"
    trial = Trial(train_small, synthetic_shards, run, "--data", data, "--epochs", "1000000", output=log)
    end = time.monotonic() + 60 * MINUTES[data] * full
    samples: list[Sample] = []
    enough = 50 if full else 24
    while time.monotonic() < end or evaluations(log) < enough:
        assert trial.wait(1 if full else 0.2) is None, log.read_text()
        if evaluations(log) >= 10:
            samples.append(sample(trial.pid, run))
    trial.terminate()
    assert trial.wait() == 75, log.read_text()
    fifth = len(samples) // 5
    warm, last = samples[2 * fifth : 3 * fifth], samples[-fifth:]
    memory = [statistics.median(each.resident_bytes for each in part) for part in (warm, last)]
    opened = [min(each.opened for each in part) for part in (warm, last)]  # between two writes
    kept = [max(each.kept for each in part) for part in (warm, last)]
    said = f"{memory} bytes; {opened} files open; {kept} in the run's folder; {evaluations(log):,} evaluations"
    print(said)
    count = tally.of(PROMISE, f"{MINUTES[data]} minutes of training, --data {data}: memory flat within 2 %, files flat")
    count(
        said,
        memory[1] <= (MORE if full else MORE_IN_SECONDS) * memory[0]
        and opened[1] <= opened[0]
        and kept[1] <= kept[0] + 2,
    )
    assert count.lost == []


def evaluations(log: Path) -> int:
    return log.read_text().count("  val: ") if log.is_file() else 0


def test_continued_again_and_again(synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool) -> None:
    """Stopped by SIGTERM after every step; after the last one, before it is evaluated."""
    times = CONTINUATIONS if full else 3
    flags = ("--epochs", f"{times / EPOCH_STEPS}")
    log = tmp_path / "log"
    assert Trial(train_small, synthetic_shards, tmp_path / "unbroken", *flags, output=log).wait() == 0
    count = tally.of(PROMISE, "continuations of one run, each stopped after a step")
    run = tmp_path / "run"
    statuses = []
    for step in range(1, times + 2):
        how: dict[str, Any] = {"output": log}
        if step <= times:
            how["signal_after_step"] = step, signal.SIGTERM
        statuses.append(Trial(train_small, synthetic_shards, run, *flags, **how).wait())
    same = end_of(run, times) == end_of(tmp_path / "unbroken", times)
    for number, status in enumerate(statuses[1:], start=1):
        count(f"continuation {number}: {status}", status == (75 if number < times else 0) and same)
    assert count.lost == []
