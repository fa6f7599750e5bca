"""Commands that run beside this process, write what they say into a log, and are stopped with it, however it ends."""

import os
import shlex
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path

from fastwsol.host.starting import INTERRUPTED
from fastwsol.host.stop_signals import StopSignals


class Stoppable(ABC):
    """Carries out commands, from several threads. While it lasts, SIGINT, SIGTERM and SIGUSR1 ask them to stop."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        """How many commands can run at the same time."""
        self._signals = StopSignals("stopping the runs after their step", lambda first: self.stop_all())

    def __enter__(self) -> "Stoppable":
        self._signals.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._signals.__exit__(*exception)

    @property
    def stopped(self) -> bool:
        """Whether a signal has asked for a stop."""
        return self._signals.requested

    @abstractmethod
    def run(self, command: list[str], log: Path) -> int:
        """Run a command to its end, its output added to `log`, and give its exit status."""

    @abstractmethod
    def stop_all(self) -> None:
        """Ask every command that runs to stop."""


class Children(Stoppable):
    """Commands as processes of this machine."""

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self._running: set[subprocess.Popen[bytes]] = set()

    def run(self, command: list[str], log: Path) -> int:
        """Run a command to its end, its output added to `log`, and give its exit status."""
        with run_logged(command, log) as child:
            self._running.add(child)
            if self.stopped:
                child.terminate()
            try:
                return child.wait()
            finally:
                self._running.discard(child)

    def stop_all(self) -> None:
        """Send SIGTERM to every process."""
        for child in list(self._running):
            child.terminate()


_TIED = f"""
import ctypes, os, signal, sys
PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
parent, *command = sys.argv[1:]
if os.getppid() != int(parent): sys.exit({INTERRUPTED})
os.execv(command[0], command)
"""
"""The code of a process that becomes a command. Its first argument is the process that started it; the others are the
command. Before it becomes the command, it asks Linux for SIGTERM when the thread that started it ends (prctl(2)). It
ends at once where that process has ended already.
"""


def run_logged(command: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command whose output is added to `log`, below the command itself. The thread that starts it must wait for
    it. The command has a session of its own, so that a terminal's Ctrl-C reaches it once, through the process that
    started it. If that process is killed by SIGKILL, the command gets SIGTERM.
    """
    tied = [sys.executable, "-c", _TIED, str(os.getpid()), *command]
    with log.open("ab") as file:
        file.write(f"$ {shlex.join(command)}\n".encode())
        file.flush()
        return subprocess.Popen(tied, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
