"""What happens before a command's own work: modules are imported, which takes seconds, and kernels are compiled."""

import functools
import importlib
import os
import signal
import sys
import time
from typing import NoReturn

from fastwsol.host.garbage import collect_again, wait_with_garbage

INTERRUPTED = 75
"""The exit status of work that stopped at a signal: EX_TEMPFAIL, run the same command again."""

_STOPPED = "stopped: interrupted; run the same command again"
_SECONDS_BETWEEN_LINES = 5.0

_BY_SEVERAL = ("train", "evaluate")
"""The commands whose work processes that torchrun starts share."""


def run(command: str) -> NoReturn:
    """Carry out the command of this name, `main` of its module in fastwsol, on the process's arguments, and end the
    process with its exit status. A command's module calls this in its first lines, where it is the program.
    """
    prepare_imports()
    main = importlib.import_module(f"fastwsol.{command}").main
    from fastwsol.host.command_line import run_command  # here: it takes a moment to import

    sys.exit(run_command(main, by_several=command in _BY_SEVERAL))


def prepare_imports() -> None:
    """From here until `begin_work`, have Ctrl-C end the process in a line, and garbage not be looked for; nor at its
    end. For the first lines of a program.

    Importing torch takes seconds, a good part of which the collector would take to find nothing. Where the signal is
    ignored, as in the background of a script, it stays so.
    """
    _open_closed_outputs()
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _end)
    wait_with_garbage()


def _open_closed_outputs() -> None:
    """Where the caller has closed an input or output, as `2>&-` does, have it lead nowhere: a file that is opened later
    would get its number, and be written into.
    """
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if getattr(sys, name) is None:
                setattr(sys, name, open(descriptor, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115


def _end(number: int, frame: object) -> None:
    os.write(2, f"{_STOPPED}\n".encode())
    os._exit(INTERRUPTED)


def begin_work() -> None:
    """Where `prepare_imports` was called, have Ctrl-C raise KeyboardInterrupt again, and the collector work again, but
    not on what was imported.
    """
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    collect_again()


class _CompileNotice:
    def __init__(self) -> None:
        self._count = 0
        self._last = 0.0

    def tell(self, function: str) -> None:
        """Say it at the first function, and now and then."""
        self._count += 1
        now = time.perf_counter()
        if self._count == 1:
            print(
                "compiling kernels that this command asks for, once on this machine: up to a minute",
                file=sys.stderr,
                flush=True,
            )
        elif now - self._last > _SECONDS_BETWEEN_LINES:
            print(f"compiling kernels: {self._count} functions so far", file=sys.stderr, flush=True)
        else:
            return
        self._last = now


@functools.cache
def tell_of_compiling() -> None:
    """Have this process say on stderr that kernels are being compiled, and how far that is. It happens once on a
    machine. Of several processes that torchrun started on a machine, only the first one says it.
    """
    if os.environ.get("LOCAL_RANK", "0") == "0":
        from kernels.compiling import tell_compiling  # here: Numba takes a moment to import

        tell_compiling(_CompileNotice().tell)
