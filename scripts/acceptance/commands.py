"""The real commands as processes of their own."""

import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOPPED_PROPERLY = 75
_KEPT_LINES = 40
_SECONDS_TO_SAVE = 60.0


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the last lines of what it said on both its outputs."""

    status: int
    tail: list[str]

    def __str__(self) -> str:
        return f"exit status {self.status} after {self.tail[-1] if self.tail else 'no output'!r}"


def run_module(
    module: str, arguments: Sequence[str], seconds: float, stop_at: str | None = None, stop_after: bool = False
) -> Ended:
    """Run `python -m module` and give how it ended.

    It gets SIGTERM when a line begins with `stop_at`, or, with `stop_after`, when `seconds` are over; a process that
    outlasts `seconds` otherwise, or its own stop by a minute, is killed.
    """
    command = [sys.executable, "-m", module, *arguments]
    print(f"  $ {shlex.join(['python', *command[1:]])}", flush=True)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout is not None
    kill = threading.Timer(max(0.0, seconds) + (_SECONDS_TO_SAVE if stop_after else 0), process.kill)
    stop = threading.Timer(max(0.0, seconds), process.terminate)
    timers = [kill, stop] if stop_after else [kill]
    for timer in timers:
        timer.start()
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines = [*lines[-_KEPT_LINES:], line.rstrip()]
            if stop_at is not None and line.startswith(stop_at):
                process.send_signal(signal.SIGTERM)
        return Ended(process.wait(), lines)
    except BaseException:  # this process is asked to stop: so is that one, and it saves its state
        process.terminate()
        process.wait(_SECONDS_TO_SAVE)
        raise
    finally:
        for timer in timers:
            timer.cancel()
