"""The threads that take batches from files to maps, and the process that they belong to."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numba
import torch

from fastwsol.host.errors import UserError

_processes: list[int] = []
"""The one that has begun to load predictors; a forked one inherits it."""


def refuse_forked() -> None:
    """Raise UserError in a process that was forked from one with a predictor: the threads of Numba and torch are not
    inherited, and would be waited for without end.
    """
    if _processes and os.getpid() not in _processes:
        raise UserError(
            "a predictor was loaded before this process was forked, and its threads are not here; start workers with "
            'multiprocessing.get_context("spawn"), and load in each of them'
        )


def note_process() -> None:
    """From here on threads may be there, which a forked process has not."""
    if not _processes:
        _processes.append(os.getpid())


@contextmanager
def stream_threads(count: int, on_cpu: bool) -> Iterator[ThreadPoolExecutor]:
    """A pool of `count` threads for a stream. On a CPU each runs the network on one core, and once the last of several
    streams has ended, new threads of this process have torch's threads as before the first.
    """
    if on_cpu:
        _threads_of_torch.keep()
    pool = ThreadPoolExecutor(count, initializer=_alone if on_cpu else None)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        if on_cpu:
            _threads_of_torch.restore()


class _ThreadsOfTorch:
    """The number of torch's threads that new threads of this process start with, which `_alone` makes 1: it is kept
    when the first of several streams begins, and restored when the last of them ends.
    """

    def __init__(self) -> None:
        self._lock, self._streams, self._before = threading.Lock(), 0, 0

    def keep(self) -> None:
        """A stream begins."""
        with self._lock:
            if not self._streams:  # not this thread's own number, which may be from a stream before
                with ThreadPoolExecutor(1) as fresh:
                    self._before = fresh.submit(torch.get_num_threads).result()
            self._streams += 1

    def restore(self) -> None:
        """A stream has ended."""
        with self._lock:
            self._streams -= 1
            if not self._streams:
                torch.set_num_threads(self._before)


_threads_of_torch = _ThreadsOfTorch()


def _alone() -> None:
    """Have this thread run the network, and kernels, on one core: threads that share a layer would wait for each other
    at its end.
    """
    torch.set_num_threads(1)
    numba.set_num_threads(1)
