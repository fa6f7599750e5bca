"""What is drawn for each image of a stream's steps beside its view, drawn and uploaded for many steps at a time."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.stream import BESIDE, Batch, Batches, Inputs, Stream

_BLOCK_IMAGES = 2**16
"""Images whose draws are made and uploaded at a time, about."""

Draw = Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[NDArray[np.generic], ...]]
"""Ids and epochs, int64 [N] each, to arrays [N, ...] of what is drawn for them."""


class _Block(NamedTuple):
    """The draws of some steps, on the device."""

    first: int
    arrays: tuple[Tensor, ...]
    """[steps, B, ...] each."""


class DrawnAhead:
    """An endless iterator over what `draw` gives for the images of `stream`, from step `start` on: tensors [B, ...] on
    the device. Nothing waits for the device.
    """

    def __init__(self, draw: Draw, stream: Stream, device: torch.device, start: int = 0) -> None:
        self._draw, self._stream, self._device, self._step = draw, stream, device, start
        self._steps_a_block = max(1, _BLOCK_IMAGES // stream.batch_size)
        self._block: _Block | None = None

    def __iter__(self) -> "DrawnAhead":
        return self

    def __next__(self) -> tuple[Tensor, ...]:
        if self._block is None or self._step == self._block.first + self._steps_a_block:
            self._block = self._drawn(self._step)
        index = self._step - self._block.first
        self._step += 1
        return tuple(array[index] for array in self._block.arrays)

    def _drawn(self, first: int) -> _Block:
        ids, epochs = self._stream.plans(range(first, first + self._steps_a_block))
        arrays = []
        for drawn in self._draw(ids, epochs):
            array = torch.from_numpy(drawn).unflatten(0, (self._steps_a_block, -1))
            if self._device.type == "cuda":  # pinned, or the copies would wait for the device
                array = array.pin_memory()
            arrays.append(array.to(self._device, non_blocking=True))
        return _Block(first, tuple(arrays))


class BatchesBeside(Batches):
    """The batches of `stream` from step `start` on, with the one array that `draw` gives for their images beside their
    labels (`Batch.beside`). batches: the same ones, without.
    """

    def __init__(self, batches: Batches, draw: Draw, stream: Stream, device: torch.device, start: int = 0) -> None:
        self._batches, self._drawn = batches, DrawnAhead(draw, stream, device, start)

    def take(self) -> Inputs:
        """See `Batches.take`."""
        (beside,) = next(self._drawn)
        return self._batches.take() | {BESIDE: beside}

    def show(self, taken: Inputs) -> Batch:
        """See `Batches.show`."""
        batch = self._batches.show({name: each for name, each in taken.items() if name != BESIDE})
        return replace(batch, beside=taken[BESIDE])
