"""Signals that ask for a stop instead of ending the process, so that work stops where its state is saved."""

import contextlib
import signal
import threading
from collections.abc import Callable

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C, a scheduler's end and a scheduler's warning."""


class StopSignals:
    """While it is entered, `SIGNALS` set `requested` and are otherwise without effect. Outside of a program's main
    thread, which alone may handle signals, it changes nothing.

    message: is printed behind the signal's name at the first of them; empty, nothing is printed. then: is called at
    each of them, with whether it is the first.
    """

    def __init__(self, message: str, then: Callable[[bool], None]) -> None:
        self.requested = False
        self._message, self._then = message, then

    def __enter__(self) -> "StopSignals":
        in_main = threading.current_thread() is threading.main_thread()
        self._before = {each: signal.signal(each, self._handle) for each in SIGNALS if in_main}
        return self

    def __exit__(self, *exception: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)

    def _handle(self, number: int, frame: object) -> None:
        first, self.requested = not self.requested, True
        if first and self._message:
            # A signal that comes in the middle of a write cannot print: the stop is what counts.
            with contextlib.suppress(RuntimeError, OSError):
                print(f"{signal.Signals(number).name}: {self._message}", flush=True)
        self._then(first)


def stop_at_once_if_repeated(first: bool) -> None:
    """For `then`: the second signal raises KeyboardInterrupt. What was saved last stands."""
    if not first:
        raise KeyboardInterrupt


def never() -> bool:
    """Whether work that nothing asks to stop is asked to."""
    return False
