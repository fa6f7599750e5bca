"""Commands in processes of their own that die at a chosen place by SIGKILL, so that nothing is tidied.

They are forked from a server that has imported everything and computed nothing, so that a trial costs no imports.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastwsol.step_mode import Stepper

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["faults.works", "fastwsol.evaluate", "fastwsol.predict"])

NEVER = 1 << 60


class Trial:
    """A piece of work in a process: `work(*arguments)`, a function of a module. Its output goes to `output`."""

    def __init__(
        self,
        work: Callable[..., int],
        *arguments: Any,
        output: Path,
        dies_at_write: int = NEVER,
        dies_after_step: int = NEVER,
        writes: Path | None = None,
    ) -> None:
        """dies_at_write: at which boundary of a durable write, from 0; there is one before and one after each fsync and
        each rename. dies_after_step: of a training. writes: a file for the number of boundaries that were passed.
        """
        how = (str(output), dies_at_write, dies_after_step, None if writes is None else str(writes))
        self._process = _CONTEXT.Process(target=_child, args=(work, arguments, how))
        self._process.start()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status, -9 of one that died; None where it is still at work after `seconds`."""
        self._process.join(seconds)
        return self._process.exitcode

    def kill(self) -> int:
        """SIGKILL, and the exit status: its own where it was faster."""
        self._process.kill()
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        return status


def _child(work: Callable[..., int], arguments: tuple[Any, ...], how: tuple[str, int, int, str | None]) -> None:
    output, dies_at_write, dies_after_step, writes = how
    file = os.open(output, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    passed = _die_at_write(dies_at_write)
    _die_after_step(dies_after_step)
    status = work(*arguments)
    if writes is not None:
        Path(writes).write_text(str(passed[0]))
    sys.stdout.flush()
    os._exit(status)


def _die() -> None:
    sys.stdout.flush()
    os.kill(os.getpid(), signal.SIGKILL)


def _die_at_write(boundary: int) -> list[int]:
    passed = [0]

    def pass_one() -> None:
        if passed[0] == boundary:
            _die()
        passed[0] += 1

    def watched(call: Callable[..., Any]) -> Callable[..., Any]:
        def between(*arguments: Any, **named: Any) -> Any:
            pass_one()
            result = call(*arguments, **named)
            pass_one()
            return result

        return between

    os.fsync, os.replace, os.rename = watched(os.fsync), watched(os.replace), watched(os.rename)
    return passed


def _die_after_step(last: int) -> None:
    step = Stepper.step

    def mortal(stepper: Stepper, *rest: Any) -> None:
        step(stepper, *rest)
        if stepper.state.step == last:
            _die()

    Stepper.step = mortal  # type: ignore[method-assign]
