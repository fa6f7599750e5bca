"""Sides that take turns, and what is made of their times.

A machine's speed changes from one second to the next, with its clock and with whatever else it does. Turns that follow
each other see the same machine, so each round gives a ratio of its own. The median of these is what is reported, with
the interval that holds the true median with a probability of 95 %, whatever the distribution (order statistics).
"""

import math
import multiprocessing
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CONFIDENCE = 0.95
timed = True
"""Whether sides are timed; else they are only compared, and work as little as shows that they work (`conftest`)."""


def nothing():
    pass


@dataclass(frozen=True)
class Side:
    """One way to do the work. `turn` does it once and is timed; `before` and `after` each turn are not."""

    turn: Callable[[], object]
    before: Callable[[], object] = nothing
    after: Callable[[], object] = nothing


def cpu_time() -> float:
    """Seconds that this process and its living children have spent on a core, threads added up (Linux)."""
    children = [
        int(thread.read_text().split()[0]) * 1e-9
        for child in multiprocessing.active_children()
        for thread in Path(f"/proc/{child.pid}/task").glob("*/schedstat")
    ]
    return time.process_time() + sum(children)


def rates(images: int, seconds: Sequence[float], cpu_seconds: Sequence[float]) -> dict[str, object]:
    """Images a second of one side: median, quartiles, extremes; what an image costs; the seconds of each turn."""
    of_turns = sorted(images / each for each in seconds)
    lower, _, upper = statistics.quantiles(of_turns, n=4)
    return {
        "images_per_second": statistics.median(of_turns),
        "quartiles": [lower, upper],
        "range": [of_turns[0], of_turns[-1]],
        "cpu_microseconds_per_image": statistics.median(cpu_seconds) / images * 1e6,
        "seconds": list(seconds),
    }


def ratio(our_seconds: Sequence[float], other_seconds: Sequence[float]) -> dict[str, float]:
    """How many times as fast ours is: the median of the rounds' ratios, and the interval around it."""
    of_rounds = sorted(other / ours for ours, other in zip(our_seconds, other_seconds, strict=True))
    rank = interval_rank(len(of_rounds))
    return {"ratio": statistics.median(of_rounds), "low": of_rounds[rank], "high": of_rounds[-1 - rank]}


def interval_rank(count: int) -> int:
    """The k with which the k-th lowest and k-th highest of `count` values (from 0) enclose the median, at CONFIDENCE.

    The median lies below the k-th lowest when at most k values lie below it, of `count` tosses of a coin. Below six
    values the extremes enclose it with less than that probability, and are given all the same.
    """
    rank, outside = 0, 2 * 0.5**count
    while outside + (more := 2 * math.comb(count, rank + 1) * 0.5**count) <= 1 - CONFIDENCE:
        rank, outside = rank + 1, outside + more
    return rank
