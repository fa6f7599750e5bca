"""Promise 9: a training by several processes that loses one ends soon, and is started again to the bits of an unbroken
one; a scheduler's warning is heeded.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .dying import NEVER, Trial
from .tally import Tally
from .test_kill_proof import end_of
from .works import train_small, training_flags

PROMISE = "9 rank death"
TESTS = Path(__file__).parent.parent
SECONDS = 60
"""In which a training that lost a process must have ended."""
DEATHS = [(world, rank, step) for world in (2, 4) for rank in range(world) for step in (1, 5, 12)]
"""Processes, which of them dies, after which step."""
SOME_DEATHS = [(2, 1, 5), (4, 0, 12)]


def torchrun(world: int, *arguments: str, restarts: int = 0, module: str = "faults.rank") -> subprocess.Popen[str]:
    """Start `world` processes on this machine, each with a thread, at a port that is free."""
    options = ["--standalone", "--nproc-per-node", str(world), "--max-restarts", str(restarts)]
    options += ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", module, *arguments]
    environment = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> dict[int, Path]:
    """The finished run of each number of processes. Shared: read it."""
    folder = tmp_path_factory.mktemp("ranks")
    for world in (2, 4):
        flags = training_flags(synthetic_shards, folder / f"{world}")
        process = torchrun(world, "-1", str(NEVER), *flags)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    return {world: folder / f"{world}" for world in (2, 4)}


def test_one_that_dies_is_started_again(
    unbroken: dict[int, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    for world, rank, step in DEATHS if full else SOME_DEATHS:
        count = tally.of(PROMISE, f"SIGKILL of one of {world} processes, which torchrun starts again")
        run = tmp_path / f"{world}-{rank}-{step}"
        process = torchrun(world, f"{rank}", f"{step}", *training_flags(synthetic_shards, run), restarts=1)
        said, _ = process.communicate(timeout=300)
        same = process.returncode == 0 and end_of(run) == end_of(unbroken[world])
        count(f"rank {rank} after step {step}: {said}", same)
        assert count.lost == []


def test_without_a_restart_all_end_soon(
    unbroken: dict[int, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """And the same command goes on where they were."""
    for world, rank, step in DEATHS[1::3] if full else SOME_DEATHS[:1]:
        count = tally.of(PROMISE, f"SIGKILL of one of {world} processes: all end within {SECONDS} s, and can go on")
        run = tmp_path / f"{world}-{rank}-{step}"
        flags = training_flags(synthetic_shards, run)
        process = torchrun(world, f"{rank}", f"{step}", *flags)
        said, seconds = seconds_after(process, f"step {step - step % 4}/")
        ended = process.returncode not in (0, None) and seconds < SECONDS
        again = torchrun(world, "-1", str(NEVER), *flags)
        more, _ = again.communicate(timeout=300)
        same = again.returncode == 0 and end_of(run) == end_of(unbroken[world])
        count(f"rank {rank} after step {step}, {seconds:.0f} s: {said}{more}", ended and same)
        assert count.lost == []


def seconds_after(process: subprocess.Popen[str], line: str) -> tuple[str, float]:
    """What a process says, and how long after a line that begins so it ends."""
    said, since = [], time.monotonic()
    assert process.stdout is not None
    for each in process.stdout:
        said.append(each)
        if each.startswith(line):
            since = time.monotonic()
    process.wait(timeout=300)
    return "".join(said), time.monotonic() - since


@pytest.mark.parametrize("warning", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_warning_saves_and_exits_75(
    warning: signal.Signals, synthetic_shards: Path, tmp_path: Path, tally: Tally
) -> None:
    def run(name: str, **how: object) -> int | None:
        never = ("--checkpoint-minutes", "1000")
        return Trial(train_small, synthetic_shards, tmp_path / name, *never, output=tmp_path / "log", **how).wait()

    assert run("unbroken") == 0
    count = tally.of(PROMISE, f"{warning.name} to a process: saved, exit 75")
    for step in (1, 5, 12):
        status = run(f"{step}", signal_after_step=(step, warning))
        saved = (tmp_path / f"{step}" / "checkpoints" / f"step-{step:09d}.json").is_file()
        goes_on = run(f"{step}") == 0 and end_of(tmp_path / f"{step}") == end_of(tmp_path / "unbroken")
        count(f"after step {step}: {status}", status == 75 and saved and goes_on)
    assert count.lost == []


@pytest.mark.parametrize("warning", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_warning_to_torchrun_saves(
    warning: signal.Signals, unbroken: dict[int, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally
) -> None:
    run = tmp_path / "run"
    flags = training_flags(synthetic_shards, run, "--log-steps", "4", "--checkpoint-minutes", "1000")
    process = torchrun(2, "-1", str(NEVER), *flags)
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if line.startswith("step 4/"):
            process.send_signal(warning)
    count = tally.of(PROMISE, f"{warning.name} to torchrun: saved, and goes on")
    stopped = process.wait(timeout=SECONDS) != 0 and len(re.findall("^stopped: ", "".join(said), re.MULTILINE)) == 1
    again = torchrun(2, "-1", str(NEVER), *flags)
    more, _ = again.communicate(timeout=300)
    same = again.returncode == 0 and end_of(run) == end_of(unbroken[2])
    count(f"{''.join(said)}{more}", stopped and same)
    assert count.lost == []
