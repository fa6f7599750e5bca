"""Promise 9: a training by several processes that loses one ends soon, and is started again to the bits of an unbroken
one; a scheduler's warning is heeded.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from equal import end_of
from two_processes import two_commands

from fastwsol import train

from .dying import NEVER, Trial
from .tally import Tally
from .works import STEPS, train_small, training_flags

PROMISE = "9 rank death"
TESTS = Path(__file__).parent.parent
SECONDS = 60
"""In which a training that lost a process must have ended."""
LIMIT = 180
"""Seconds after which a test is given up."""
DEATHS = [(world, rank, step) for world in (2, 4) for rank in range(world) for step in (1, 5, 12)]
"""Processes, which of them dies, after which step."""
SOME_DEATHS = [(2, 1, 5)]
NOBODY = ("-1", str(NEVER))
"""Who dies, and after which step."""


class Torchrun:
    """A torchrun, whose processes are `faults.rank`s with a thread each."""

    def __init__(self, options: list[str], *arguments: str, **environment: str) -> None:
        command = [sys.executable, "-m", "torch.distributed.run", *options, "-m", "faults.rank", *arguments]
        env = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"} | environment
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        self.said: list[str] = []
        self._limit = threading.Timer(LIMIT, self.lose)
        self._limit.daemon = True
        self._limit.start()

    def lines(self) -> Iterator[str]:
        """What is said, line by line, until all have ended."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            yield line
        self.process.wait()
        self._limit.cancel()

    def status(self) -> int:
        """Of its end, which is waited for."""
        for _ in self.lines():
            pass
        return self.process.returncode

    def lose(self) -> None:
        """SIGKILL of it and all its processes."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with contextlib.suppress(OSError):  # it has ended
            for pid in (self.process.pid, *map(int, children.read_text().split())):
                os.kill(pid, signal.SIGKILL)

    def __str__(self) -> str:
        return "".join(self.said)


def torchrun(world: int, who: tuple[str, str], flags: list[str], restarts: int = 0) -> Torchrun:
    """`world` processes on this machine, at a port that is free."""
    options = ["--standalone", "--nproc-per-node", str(world), "--max-restarts", str(restarts)]
    return Torchrun([*options, "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"], *who, *flags)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path, full: bool) -> dict[int, Path]:
    """The finished run of each number of processes. Shared: read it."""
    folder = tmp_path_factory.mktemp("ranks")
    ended = two_commands(train.main, training_flags(synthetic_shards, folder / "2"))
    assert ended.returncode == 0, ended.stderr
    if full:
        process = torchrun(4, NOBODY, training_flags(synthetic_shards, folder / "4"))
        assert process.status() == 0, str(process)
    return {world: folder / f"{world}" for world in (2, 4)}


def starts(run: Path) -> list[int]:
    """At which steps processes began."""
    return [start["step"] for start in json.loads((run / "environment.json").read_text())["starts"]]


def test_one_that_dies_is_started_again(
    unbroken: dict[int, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """Saved is the step before the one in which it died, or that one where the leading process was faster."""
    for world, rank, step in DEATHS if full else SOME_DEATHS:
        count = tally.of(PROMISE, f"SIGKILL of one of {world} processes, which torchrun starts again")
        run = tmp_path / f"{world}-{rank}-{step}"
        process = torchrun(world, (f"{rank}", f"{step}"), training_flags(synthetic_shards, run), restarts=1)
        ended = process.status() == 0 and starts(run) in ([0, step - 1], [0, max(step - 2, 0)], [0, step])
        count(
            f"rank {rank} after step {step}: {process}", ended and end_of(run, STEPS) == end_of(unbroken[world], STEPS)
        )
        assert count.lost == []


def test_without_a_restart_all_end_soon(
    unbroken: dict[int, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """And the same command goes on where they were."""
    if not full:
        pytest.skip("one that dies is started again, which others do not outlive either; add --full")
    for world, rank, step in DEATHS[1::3]:
        count = tally.of(PROMISE, f"SIGKILL of one of {world} processes: all end within {SECONDS} s, and can go on")
        run = tmp_path / f"{world}-{rank}-{step}"
        flags = training_flags(synthetic_shards, run)
        process, since = torchrun(world, (f"{rank}", f"{step}"), flags), time.monotonic()
        for line in process.lines():
            if line.startswith("step"):  # before the death
                since = time.monotonic()
        seconds = time.monotonic() - since
        again = torchrun(world, NOBODY, flags)
        ended = process.process.returncode not in (0, 75) and seconds < SECONDS and again.status() == 0
        whole = ended and len(starts(run)) == 2 and end_of(run, STEPS) == end_of(unbroken[world], STEPS)
        count(f"rank {rank} after step {step}, {seconds:.0f} s: {process}{again}", whole)
        assert count.lost == []


@pytest.mark.parametrize("warning", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_warning_saves_and_exits_75(
    warning: signal.Signals, synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    def run(name: str, **how: object) -> int | None:
        never = ("--checkpoint-minutes", "1000")
        return Trial(train_small, synthetic_shards, tmp_path / name, *never, output=tmp_path / "log", **how).wait()

    assert run("unbroken") == 0
    count = tally.of(PROMISE, f"{warning.name} to a process: saved, exit 75")
    for step in (1, 5, 12) if full else (12,):
        status = run(f"{step}", signal_after_step=(step, warning))
        saved = (tmp_path / f"{step}" / "checkpoints" / f"step-{step:09d}.json").is_file()
        goes_on = run(f"{step}") == 0 and end_of(tmp_path / f"{step}", STEPS) == end_of(tmp_path / "unbroken", STEPS)
        count(f"after step {step}: {status}", status == 75 and saved and goes_on)
    assert count.lost == []


@pytest.mark.parametrize("warning", [signal.SIGTERM, signal.SIGUSR1])
def test_a_schedulers_warning_to_torchrun_saves(
    warning: signal.Signals, synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """In a run of many steps, which it cannot finish in the meantime."""
    if not full and warning == signal.SIGTERM:
        pytest.skip("SIGUSR1 alone: add --full for SIGTERM, which test_distributed sends")
    run = tmp_path / "run"
    flags = training_flags(synthetic_shards, run, "--checkpoint-minutes", "1000", "--epochs", "10000")
    process = torchrun(2, NOBODY, flags)
    since = 0.0
    for line in process.lines():
        if line.startswith("step 4/"):
            process.process.send_signal(warning)
            since = time.monotonic()
    seconds = time.monotonic() - since
    said = re.findall(r"^stopped: step (\d+) of \d+ is saved", str(process), re.MULTILINE)
    (saved,) = (int(path.stem[5:]) for path in (run / "checkpoints").glob("*.json"))
    count = tally.of(PROMISE, f"{warning.name} to torchrun: saved, within {SECONDS} s")
    stopped = process.process.returncode != 0 and seconds < SECONDS
    count(f"{seconds:.0f} s: {process}", stopped and said == [str(saved)] and saved >= 4)
    assert count.lost == []


class Machine(Torchrun):
    """One of two with a process each, which meet at a port of this machine."""

    def __init__(self, number: int, port: int, *flags: str) -> None:
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", "7"]
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
        options += ["--rdzv-conf", f"is_host={int(number == 0)}"]
        super().__init__(options, *NOBODY, *flags, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")


def test_a_machine_that_is_lost_and_comes_back(
    synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """Two torchruns over loopback, each with a copy of the shards of its own, and a run of a hundred steps."""
    if not full:
        pytest.skip("takes two minutes, which other deaths of processes do not; add --full")
    steps = 5 * STEPS
    more = ("--epochs", f"{steps * 16 / 80}", "--eval-epochs", "100")
    alone = torchrun(2, NOBODY, training_flags(synthetic_shards, tmp_path / "unbroken", *more))
    assert alone.status() == 0, str(alone)
    count = tally.of(PROMISE, "one of two machines lost, and started again")
    for step in (4, 8, 12, 16):
        run = tmp_path / f"{step}" / "run"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        copies = [shutil.copytree(synthetic_shards, tmp_path / f"{step}" / f"shards-{number}") for number in range(2)]
        flags = [training_flags(shards, run, *more) for shards in copies]
        machines = [Machine(0, port, *flags[0]), Machine(1, port, *flags[1])]
        for line in machines[0].lines():
            if line.startswith(f"step {step}/") and len(machines) == 2:
                machines[1].lose()
                machines.append(Machine(1, port, *flags[1]))
        ends = [machine.status() for machine in machines]
        said, begun = "".join(map(str, machines)), starts(run)
        whole = ends[0] == ends[2] == 0 and len(begun) == 2 and step - 1 <= begun[1] < steps
        count(
            f"after step {step}: {ends} {begun} {said}",
            whole and end_of(run, steps) == end_of(tmp_path / "unbroken", steps),
        )
        assert count.lost == []
