"""Batches from a store: nothing is decoded. On the CPU a kernel makes the views; on a GPU torch does, from a tensor."""

import weakref
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.drawn_ahead import DrawnAhead
from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.batches.views_cpu import ViewRenderer
from fastwsol.batches.views_gpu import DeviceViews, make_show
from fastwsol.host.kept_arrays import KeptArray

CHUNK_VIEWS = 256
"""Views that a thread makes at a time. Small batches are made several at once, so that the fixed cost of a call is
small.
"""
CHUNK_BYTES = 2**25
"""At most, so that large views do not fill the memory; one batch may have more."""


class StoreBatches(Batches):
    """The batches of a stream on the CPU, from step `start` on, made ahead by `threads` threads.

    Each thread makes whole batches, so threads seldom wait for each other.
    """

    def __init__(self, stream: Stream, store: KeptArray, dtype: torch.dtype, threads: int, start: int = 0) -> None:
        self._stream, self._pixels = stream, np.asarray(store.values)
        self._renderer = ViewRenderer(stream, dtype)
        views = min(CHUNK_VIEWS, CHUNK_BYTES // self._renderer.room(1).nbytes)
        self._steps = max(1, views // stream.batch_size)
        self._blocks = stream.blocks(start, self._steps)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="views")
        self._ahead: deque[Future[list[Inputs]]] = deque()
        self._ready: deque[Inputs] = deque()
        self._free: deque[NDArray[Any]] = deque()
        for _ in range(threads):
            self._begin()

    def take(self) -> Inputs:
        """See `Batches.take`."""
        if not self._ready:
            if not self._ahead:
                raise StopIteration
            self._ready.extend(self._ahead.popleft().result())
            self._begin()
        return self._ready.popleft()

    def _begin(self) -> None:
        """Have the next chunk made, where there is one."""
        if (steps := next(self._blocks, None)) is not None:
            room = self._room(len(steps))
            self._ahead.append(self._pool.submit(_make, self._stream, self._pixels, self._renderer, steps, room))

    def _room(self, steps: int) -> NDArray[Any]:
        """Memory for so many steps. It is used again when no tensor refers to it any more: fresh memory costs as much
        time as the views, page by page.
        """
        try:
            memory = self._free.pop()
        except IndexError:
            memory = self._renderer.room(self._steps * self._stream.batch_size)
        # An array of its own, which the tensors keep alive: when it goes, they are gone.
        room = memory[: steps * self._stream.batch_size]
        weakref.finalize(room, self._free.append, memory).atexit = False
        return room


def _make(
    stream: Stream, pixels: NDArray[np.uint8], renderer: ViewRenderer, steps: range, room: NDArray[Any]
) -> list[Inputs]:
    """The batches of `steps`, whose images lie in `room` end to end."""
    split, size = stream.split, stream.batch_size
    ids, epochs = stream.plans(steps)
    renderer.show(pixels, split.rows[ids], stream.views(ids, epochs), slice(0, len(ids)), room)
    images, labels = renderer.as_images(room), torch.from_numpy(split.labels[ids])
    parts = [slice(k * size, (k + 1) * size) for k in range(len(steps))]
    return [{"images": images[part], "labels": labels[part]} for part in parts]


class DeviceBatches(Batches):
    """The batches of a stream on `pixels`' device, from step `start` on.

    pixels: uint8 [N, H, W, 3], a store's. What is uploaded are the draws alone, and nothing waits for the device.
    """

    def __init__(self, stream: Stream, pixels: Tensor, dtype: torch.dtype, compiled: bool, start: int = 0) -> None:
        self._pixels = pixels
        _, height, width, _ = pixels.shape
        self._show = make_show(stream.augmentation, stream.statistics, height, width, pixels.device, dtype, compiled)
        self._drawn = DrawnAhead(partial(_draws, stream), stream, pixels.device, start)

    def take(self) -> Inputs:
        """The draws, which are small: the images are made by `show`."""
        return next(self._drawn)

    def show(self, taken: Inputs) -> Batch:
        """See `Batches.show`."""
        views = DeviceViews(**{name: tensor for name, tensor in taken.items() if name != "labels"})
        return Batch(self._show(self._pixels, views), taken["labels"])


def _draws(stream: Stream, ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The fields of `DeviceViews` of these images, but for those that a stream has none of, and their labels."""
    views = stream.views(ids, epochs)
    fields: dict[str, Any] = {
        "rows": stream.split.rows[ids],
        "windows": views.windows,
        "flips": views.flips,
        "cells": views.cells,
    }
    if views.color is not None:
        fields |= views.color._asdict()
    return {"labels": stream.split.labels[ids]} | {name: each for name, each in fields.items() if each is not None}
