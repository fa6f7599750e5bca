"""What is drawn for the images of a stream's steps: by a thread, a block of steps ahead, and uploaded whole."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.host.device import upload

BLOCK_IMAGES = 2**13
"""Images of a block, about: so few that a course of some hundred steps draws little in vain."""

Draw = Callable[[NDArray[np.int64], NDArray[np.int64]], dict[str, NDArray[np.generic]]]
"""Ids and epochs, int64 [N] each, to arrays [N, ...], by name, of what is drawn for these images."""

DrawExtra = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.generic]]
"""The same, of one array."""


class DrawnAhead:
    """An iterator over what `draw` gives for the images of `stream`'s steps, from step `start` on: tensors [B, ...] on
    the device. It ends where the stream does. Nothing waits for the device.
    """

    def __init__(self, draw: Draw, stream: Stream, device: torch.device, start: int = 0) -> None:
        self._draw, self._stream, self._device = draw, stream, device
        self._blocks = stream.blocks(start, max(1, BLOCK_IMAGES // stream.batch_size))
        self._drawer = ThreadPoolExecutor(1, thread_name_prefix="draws")
        self._ready: deque[Inputs] = deque()
        self._coming = self._begin()

    def __iter__(self) -> "DrawnAhead":
        return self

    def __next__(self) -> Inputs:
        if not self._ready:
            if self._coming is None:
                raise StopIteration
            drawn, self._coming = self._coming.result(), self._begin()
            self._ready.extend(self._of_steps(drawn))
        return self._ready.popleft()

    def _begin(self) -> Future[dict[str, NDArray[np.generic]]] | None:
        """Have the next block drawn, where there is one."""
        steps = next(self._blocks, None)
        return None if steps is None else self._drawer.submit(_drawn, self._draw, self._stream, steps)

    def _of_steps(self, drawn: dict[str, NDArray[np.generic]]) -> list[Inputs]:
        size = self._stream.batch_size
        parts = {name: upload(array, self._device).split(size) for name, array in drawn.items()}
        return [dict(zip(parts, tensors, strict=True)) for tensors in zip(*parts.values(), strict=True)]


def _drawn(draw: Draw, stream: Stream, steps: range) -> dict[str, NDArray[np.generic]]:
    return draw(*stream.plans(steps))


_EXTRA = "extra"


class BatchesWithExtra(Batches):
    """The batches of `stream` from step `start` on, with what `draw` gives for their images (`Batch.extra`). batches:
    the same ones, without.
    """

    def __init__(self, batches: Batches, draw: DrawExtra, stream: Stream, device: torch.device, start: int = 0) -> None:
        self._batches = batches
        self._drawn = DrawnAhead(lambda ids, epochs: {_EXTRA: draw(ids, epochs)}, stream, device, start)

    def take(self) -> Inputs:
        """See `Batches.take`."""
        return self._batches.take() | next(self._drawn)

    def show(self, taken: Inputs) -> Batch:
        """See `Batches.show`."""
        batch = self._batches.show({name: each for name, each in taken.items() if name != _EXTRA})
        return replace(batch, extra=taken[_EXTRA])
