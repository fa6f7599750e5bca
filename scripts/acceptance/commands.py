"""The real commands as processes of their own."""

import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOPPED_PROPERLY = 75
_KEPT_LINES = 40
GRACE = 60.0
"""Seconds between the asking to stop and the killing, unless others are said."""


@dataclass(frozen=True)
class Ended:
    """How a process ended, and the last lines of what it said on both its outputs."""

    status: int
    tail: list[str]
    was_asked: bool = False
    """Whether it was told to stop, or killed when it did not."""

    def __str__(self) -> str:
        return f"exit status {self.status} after {self.tail[-1] if self.tail else 'no output'!r}"


class _Child:
    """A process that is asked to stop once at most: a second signal would have it stop without saving."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process, self._lock, self.was_asked = process, threading.Lock(), False

    def ask_to_stop(self) -> None:
        with self._lock:
            if not self.was_asked:
                self.was_asked = True
                self._process.terminate()

    def kill(self) -> None:
        self.was_asked = True
        self._process.kill()


class Running:
    """The processes that several threads run, so that all can be asked to stop at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self.stops = False

    def stop(self) -> None:
        """Ask them to stop, and each that is begun later."""
        with self._lock:
            self.stops = True
            for child in self._children:
                child.ask_to_stop()

    @contextmanager
    def holds(self, child: _Child) -> Iterator[None]:
        """While this process runs."""
        with self._lock:
            self._children.add(child)
            if self.stops:
                child.ask_to_stop()
        try:
            yield
        finally:
            with self._lock:
                self._children.remove(child)


def run_module(
    module: str,
    arguments: Sequence[str],
    seconds: float,
    stop_at: str | None = None,
    stop_in_time: bool = False,
    among: Running | None = None,
    grace: float = GRACE,
) -> Ended:
    """Run `python -m module` and give how it ended.

    It gets one SIGTERM: at the line that begins with `stop_at`; with `stop_in_time` after `seconds`, but not before its
    first line, since until then it could not save its state; or when those `among` which it runs are stopped. `grace`
    seconds after `seconds` it is killed.
    """
    command = [sys.executable, "-m", module, *arguments]
    print(f"  $ {shlex.join(['python', *command[1:]])}", flush=True)
    stop_from = time.monotonic() + seconds
    # As by default: where no bytecode may be written, each process spends two seconds more on importing torch.
    # Nothing is downloaded: without a network the hub would be asked again and again.
    environment = {"HF_HUB_OFFLINE": "1", **os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,  # Ctrl-C is for this process, which passes on a single SIGTERM
    )
    assert process.stdout is not None
    child = _Child(process)
    lines: list[str] = []

    def stop_in_time_or_at_the_next_line() -> None:
        if lines:
            child.ask_to_stop()

    timers = [threading.Timer(max(0.0, seconds) + grace, child.kill)]
    if stop_in_time:  # a process that compiles says nothing for a while
        timers.append(threading.Timer(max(0.0, seconds), stop_in_time_or_at_the_next_line))
    for timer in timers:
        timer.start()
    try:
        with (among or Running()).holds(child):
            for line in process.stdout:
                lines[:] = [*lines[-_KEPT_LINES:], line.rstrip()]
                is_late = stop_in_time and time.monotonic() > stop_from
                if is_late or (stop_at is not None and line.startswith(stop_at)):
                    child.ask_to_stop()
            return Ended(process.wait(), lines, child.was_asked)
    except BaseException:  # this process is asked to stop: so is that one
        child.ask_to_stop()
        process.wait(grace)
        raise
    finally:
        for timer in timers:
            timer.cancel()
