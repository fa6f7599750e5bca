"""How far long work got: one line kept up to date on a terminal, one after another elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Self

from fastwsol.host.words import duration

SECONDS_BETWEEN_LINES = 2.0


class Ticker:
    """Turns counts of what is done into lines on stderr.

    line: makes the text from the count, the rate a second and the seconds left. The rate is of this process alone. The
    clock starts at the first update, so that start-up time does not count. Leaving its context closes it.
    """

    def __init__(self, total: int, line: Callable[[int, float, float], str]):
        self._total, self._line, self._before = total, line, 0
        self._on_terminal = sys.stderr.isatty()
        self._started = self._last = 0.0
        self._shown = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, done: int) -> None:
        """Print a line, where the last one is old enough, that `done` of the total are done."""
        now = time.perf_counter()
        if not self._started:
            self._started = self._last = now
            self._before = done
        if now - self._last >= SECONDS_BETWEEN_LINES or (self._on_terminal and done == self._total):
            self._last = now
            rate = (done - self._before) / max(now - self._started, 1e-6)
            text = self._line(done, rate, (self._total - done) / max(rate, 1e-6))
            start, end = ("\r\x1b[K", "") if self._on_terminal else ("", "\n")
            print(start + text, end=end, file=sys.stderr, flush=True)
            self._shown = True

    def close(self) -> None:
        """End the line on a terminal, so that the next one stands alone."""
        if self._shown and self._on_terminal:
            print(file=sys.stderr)
        self._shown = False


def image_ticker(name: str, total: int, of: str = "images") -> Ticker:
    """Progress through `total` images, or whatever they are called."""

    def line(images: int, rate: float, left: float) -> str:
        return f"{name}  {images:,} of {total:,} {of}  {rate:,.0f} images/s  {duration(left)} left"

    return Ticker(total, line)
