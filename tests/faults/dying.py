"""Commands in processes of their own that die at a chosen place by SIGKILL, so that nothing is tidied, or find no room
on the disk there.

They are forked from a server that has imported everything and loaded some kernels (`warm`), so that a trial costs
neither.
"""

import errno
import multiprocessing
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.training.step_mode import Stepper

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(
    [
        *("faults.works", "fastwsol.evaluate", "fastwsol.predict", "torch._dynamo", "nvidia.dali.fn"),
        *("pyarrow.compute", "faults.warm"),
    ]
)

NEVER = 1 << 60


class Trial:
    """A piece of work in a process: `work(*arguments)`, a function of a module. Its output goes to `output`."""

    def __init__(
        self,
        work: Callable[..., int],
        *arguments: Any,
        output: Path,
        dies_at_write: int = NEVER,
        full_at_write: int = NEVER,
        file_bytes: int = NEVER,
        more_bytes: int = NEVER,
        dies_after_step: int = NEVER,
        signal_after_step: tuple[int, int] = (NEVER, 0),
        writes: Path | None = None,
        works_in: Path | None = None,
    ) -> None:
        """dies_at_write, full_at_write: at which boundary of a durable write, from 0; there is one before and one after
        each fsync and each rename. file_bytes: no file can become larger. more_bytes: how much memory it can take
        beyond what it begins with. dies_after_step: of a training; signal_after_step: and which signal it gets there
        instead. writes: a file for the number of boundaries that were passed. works_in: the working directory.
        """
        after = signal_after_step if dies_after_step == NEVER else (dies_after_step, signal.SIGKILL)
        how = _Faults(str(output), dies_at_write, full_at_write, file_bytes, more_bytes, after, writes, works_in)
        self._process = context.Process(target=_child, args=(work, arguments, how))
        self._process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, -9 of one that died; None where it is still at work after `seconds`."""
        self._process.join(seconds)
        return self._process.exitcode

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> int:
        """SIGKILL, and the exit status: its own where it was faster."""
        self._process.kill()
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        return status


@dataclass(frozen=True)
class _Faults:
    output: str
    dies_at_write: int
    full_at_write: int
    file_bytes: int
    more_bytes: int
    signal_after_step: tuple[int, int]
    writes: Path | None
    works_in: Path | None


def _child(work: Callable[..., int], arguments: tuple[Any, ...], how: _Faults) -> None:
    file = os.open(how.output, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    if how.works_in is not None:
        os.chdir(how.works_in)
    passed = _fail_at_write(how.dies_at_write, how.full_at_write)
    signal_after_step(*how.signal_after_step)
    if how.file_bytes != NEVER:
        resource.setrlimit(resource.RLIMIT_FSIZE, (how.file_bytes, resource.RLIM_INFINITY))
    if how.more_bytes != NEVER:
        resource.setrlimit(resource.RLIMIT_DATA, (data_bytes() + how.more_bytes, resource.RLIM_INFINITY))
    status = work(*arguments)
    if how.writes is not None:
        how.writes.write_text(str(passed[0]))
    sys.stdout.flush()
    os._exit(status)


def data_bytes() -> int:
    """Memory of this process that is no file's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


def _signal_self(number: int) -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), number)


def _fail_at_write(dies: int, full: int) -> list[int]:
    passed = [0]

    def pass_one() -> None:
        passed[0] += 1
        if passed[0] - 1 == dies:
            _signal_self(signal.SIGKILL)
        if passed[0] - 1 == full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a file")

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def between(*arguments: Any, **named: Any) -> Any:
            pass_one()
            result = call(*arguments, **named)
            pass_one()
            return result

        return between

    os.fsync, os.replace, os.rename = watched(os.fsync), watched(os.replace), watched(os.rename)
    return passed


def signal_after_step(last: int, number: int) -> None:
    """Let this process, in a training, send itself a signal after step `last`."""
    step = Stepper.step

    def signalled(stepper: Stepper, inputs: Any, lr: float) -> None:
        step(stepper, inputs, lr)
        if stepper.state.step == last and lr > 0:  # which it is not in a step that only tries
            _signal_self(number)

    Stepper.step = signalled  # type: ignore[method-assign]
