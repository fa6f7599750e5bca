"""The real commands as processes of their own."""

import math
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOPPED_PROPERLY = 75
_KEPT_LINES = 40
_SECONDS_OF_GRACE = 60.0


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the last lines of what it said on both its outputs."""

    status: int
    tail: list[str]

    def __str__(self) -> str:
        return f"exit status {self.status} after {self.tail[-1] if self.tail else 'no output'!r}"


def run_module(
    module: str, arguments: Sequence[str], seconds: float, stop_at: str | None = None, stop_in_time: bool = False
) -> Ended:
    """Run `python -m module` and give how it ended.

    It gets one SIGTERM: at the line that begins with `stop_at`, or, with `stop_in_time`, at its first line after
    `seconds`; before its first line it could not save its state. A minute after `seconds` it is killed.
    """
    command = [sys.executable, "-m", module, *arguments]
    print(f"  $ {shlex.join(['python', *command[1:]])}", flush=True)
    stop_from = time.monotonic() + seconds if stop_in_time else math.inf
    # As by default: where no bytecode may be written, each process spends two seconds more on importing torch.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    kill = threading.Timer(max(0.0, seconds) + _SECONDS_OF_GRACE, process.kill)
    kill.start()
    lines: list[str] = []
    asked = False
    try:
        for line in process.stdout:
            lines = [*lines[-_KEPT_LINES:], line.rstrip()]
            due = time.monotonic() > stop_from or (stop_at is not None and line.startswith(stop_at))
            if due and not asked:  # once: a second signal would have it stop without saving
                process.terminate()
                asked = True
        return Ended(process.wait(), lines)
    except BaseException:  # this process is asked to stop: so is that one
        process.terminate()
        process.wait(_SECONDS_OF_GRACE)
        raise
    finally:
        kill.cancel()
