"""Promise 9: a training by several processes that loses one ends soon, and is started again to the bits of an unbroken
one; a scheduler's warning is heeded.
"""

import json
import os
import re
import shutil
import signal
import socket
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


def torchrun(world: int, *arguments: str, restarts: int = 0) -> subprocess.Popen[str]:
    """Start `world` processes on this machine, each with a thread, at a port that is free."""
    options = ["--standalone", "--nproc-per-node", str(world), "--max-restarts", str(restarts)]
    options += ["--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"]
    return started([*options, "-m", "faults.rank", *arguments])


def started(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    """A torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", *arguments]
    env = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)


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


class Machine:
    """One of two with a torchrun each, a process under each, which meet at a port of this machine."""

    def __init__(self, number: int, port: int, *arguments: str) -> None:
        options = ["--nnodes", "2", "--nproc-per-node", "1", "--max-restarts", "3", "--rdzv-id", "7"]
        options += ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--local-addr", "127.0.0.1"]
        options += ["--rdzv-conf", f"is_host={int(number == 0)}", "-m", "faults.rank", "-1", str(NEVER), *arguments]
        self.process = started(options, TORCH_DISABLE_SHARE_RDZV_TCP_STORE="1")

    def lose(self) -> None:
        """SIGKILL of all that runs on it."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            os.kill(pid, signal.SIGKILL)
        self.process.communicate()


def test_a_machine_that_is_lost_and_comes_back(
    unbroken: dict[int, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """Two torchruns over loopback, each with a copy of the shards of its own."""
    count = tally.of(PROMISE, "one of two machines lost, and started again")
    for step in (4, 8, 12, 16) if full else (8,):
        run = tmp_path / f"{step}" / "run"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        copies = [shutil.copytree(synthetic_shards, tmp_path / f"{step}" / f"shards-{number}") for number in range(2)]
        flags = [training_flags(shards, run) for shards in copies]
        first, second = Machine(0, port, *flags[0]), Machine(1, port, *flags[1])
        said, lost = [], False
        assert first.process.stdout is not None
        for line in first.process.stdout:
            if line.startswith(f"step {step}/") and not lost:
                lost = True
                second.lose()
                second = Machine(1, port, *flags[1])
            said.append(line)
        ends = first.process.wait(timeout=300), second.process.wait(timeout=60)
        steps = [start["step"] for start in json.loads((run / "environment.json").read_text())["starts"]]
        whole = ends == (0, 0) and len(steps) == 2 and end_of(run) == end_of(unbroken[2])
        count(f"after step {step}: {ends} {steps} {''.join(said)}", whole)
        assert count.lost == []
