"""Promise 12: a training that goes on and on, with evaluations and checkpoints, takes no more memory and no more files,
and one that is stopped two hundred times comes to the same end.
"""

import os
import signal
import statistics
from pathlib import Path
from typing import NamedTuple

import pytest

from .dying import Trial
from .tally import Tally
from .test_kill_proof import end_of
from .works import train_small

PROMISE = "12 soak"
MINUTES = {"dali": 30, "resident": 10}
MORE = 1.02
"""Most memory at the end, of what there was once all was warm."""
CONTINUATIONS = 200
EPOCH_STEPS = 5


class Sample(NamedTuple):
    """What a process holds."""

    resident_bytes: int
    files: int


def sample(pid: int) -> Sample:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return Sample(pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd")))


@pytest.mark.parametrize("data", MINUTES)
def test_memory_and_files_stay_flat(
    data: str, synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """An evaluation every fifth step, a checkpoint after each: the third fifth of the time against the last."""
    seconds = MINUTES[data] * 60 if full else 20
    run, log = tmp_path / "run", tmp_path / "log"
    flags = ("--data", data, "--epochs", "1000000")
    trial = Trial(train_small, synthetic_shards, run, *flags, output=log)
    samples = []
    for _ in range(seconds):
        assert trial.wait(1) is None, log.read_text()
        samples.append(sample(trial.pid))
    trial.terminate()
    assert trial.wait() == 75, log.read_text()
    fifth = seconds // 5
    warm, last = samples[2 * fifth : 3 * fifth], samples[-fifth:]
    memory = [statistics.median(each.resident_bytes for each in part) for part in (warm, last)]
    files = [min(each.files for each in part) for part in (warm, last)]  # between two writes
    evaluations = log.read_text().count("  val: ")
    said = f"{memory[0]:,.0f} bytes, then {memory[1]:,.0f}; {files} files; {evaluations:,} evaluations"
    print(said)
    kept = {path.name for path in run.iterdir()} == {"checkpoints", "config.json", "environment.json", "metrics.jsonl"}
    flat = memory[1] <= MORE * memory[0] and files[1] <= files[0] and kept and evaluations > 10
    count = tally.of(PROMISE, f"{MINUTES[data]} minutes of training, --data {data}: memory flat within 2 %, files flat")
    count(said, flat)
    assert count.lost == []


def test_continued_again_and_again(synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool) -> None:
    """Stopped by SIGTERM after every step."""
    times = CONTINUATIONS if full else 5
    flags = ("--epochs", f"{(times + 1) / EPOCH_STEPS}")
    log = tmp_path / "log"
    assert Trial(train_small, synthetic_shards, tmp_path / "unbroken", *flags, output=log).wait() == 0
    count = tally.of(PROMISE, "continuations of one run, each stopped after a step")
    run = tmp_path / "run"
    for step in range(1, times + 2):
        stop = (step, signal.SIGTERM)
        status = Trial(train_small, synthetic_shards, run, *flags, output=log, signal_after_step=stop).wait()
        assert status == (75 if step <= times else 0), log.read_text()
        if step > 1:
            count(f"step {step}", True)
    assert end_of(run, times + 1) == end_of(tmp_path / "unbroken", times + 1)
