"""What a batch is, which images it holds, and how they are shown. Where the pixels come from is decided elsewhere.

The step alone determines a batch, so a stream that starts at step k gives what an unbroken one gives at step k.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.numbered_views import crop_and_flip
from fastwsol.config import Augmentation, Channels, Statistics
from fastwsol.dataset.shards import Split
from fastwsol.draws import Views, draw_views, stream_slice
from fastwsol.geometry import shown_windows, windows_in_square

Inputs = dict[str, torch.Tensor]
"""Tensors by name; names, shapes and number formats stay the same from step to step."""

BatchPlan = Callable[[int], tuple[NDArray[np.int64], NDArray[np.int64]]]
"""Step -> the ids and epochs, int64 [B] each, of that step's images."""


@dataclass(frozen=True)
class Batch:
    """One step's images on the device."""

    images: torch.Tensor
    """[B, 3, S, S] in channels-last memory, normalised by the stream's statistics: float32, or the number format of
    the forward pass, to which autocast would round them next."""
    labels: torch.Tensor
    """int64 [B] on the same device; of mixed images the shares of the classes, float32 [B, classes]."""
    extra: torch.Tensor | None = None
    """What else is known or drawn of each image, [B, ...] on the same device, where there is such."""


class Batches(ABC):
    """An iterator over the batches of a stream, however they are made; an endless one where the stream tells no number
    of steps.

    A batch is made in two parts. `take` differs from step to step. `show` does the same operations on a device each
    time, so that they can be captured with the rest of the step.
    """

    def __iter__(self) -> "Batches":
        return self

    def __next__(self) -> Batch:
        return self.show(self.take())

    @abstractmethod
    def take(self) -> Inputs:
        """What `show` needs for the next batch, on the device. Raises StopIteration behind the last."""

    def show(self, taken: Inputs) -> Batch:
        """The batch that was taken."""
        return Batch(taken["images"], taken["labels"])


@dataclass(frozen=True)
class Stream:
    """The batches of one split: which images each holds, how they are shown, and what they are normalised by."""

    split: Split
    plan: BatchPlan
    batch_size: int
    augmentation: Augmentation
    seed: int
    statistics: Statistics
    steps: int | None = None
    """How many batches will be asked for; None: there is no end of them."""
    view: int | None = None
    """The number of the view that each image is shown in (`numbered_views`); None: the one that is drawn for it."""

    def blocks(self, start: int, size: int) -> Iterator[range]:
        """The steps from `start` on, `size` at a time, as far as batches will be asked for."""
        end = None if self.steps is None else start + self.steps
        for first in count(start, size):
            if end is not None and first >= end:
                return
            yield range(first, first + size if end is None else min(first + size, end))

    def plans(self, steps: range) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The ids and epochs of the images of several steps, end to end."""
        ids, epochs = zip(*map(self.plan, steps), strict=True)
        return np.concatenate(ids), np.concatenate(epochs)

    def views(self, ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> Views:
        """How images `ids` are shown in their `epochs`. Windows are in the pixels of what is decoded: the image, or the
        square that what is shown of it is brought to.
        """
        if self.view is None:
            return self._drawn(ids, epochs)
        crop, flip = crop_and_flip(self.augmentation, self.view)
        views = self._drawn(ids, np.full_like(epochs, crop))
        return replace(views, flips=np.full_like(views.flips, flip))

    def _drawn(self, ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> Views:
        widths, heights = self.split.widths[ids], self.split.heights[ids]
        views = draw_views(self.augmentation, self.seed, ids, epochs, widths, heights, self.split.rows[ids])
        if side := self.augmentation.store_size:
            shown = shown_windows(self.augmentation.fit, widths, heights)
            views = replace(views, windows=windows_in_square(views.windows, shown, side))
        return views


def decoded_at_once(split: Split) -> int:
    """How many of the split's images are decoded together, so that they take some gigabyte; one at least."""
    pixels = float((split.widths.astype(np.int64) * split.heights).mean()) if len(split) else 1.0
    return max(1, int(_DECODED_PIXELS / pixels))


_DECODED_PIXELS = 2**28


def training_plan(seed: int, count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> BatchPlan:
    """The endless stream over `count` images, cut into batches. The plan gives the part of process `rank` in each
    batch.

    The parts of all processes end to end are the same batch at any world size, which must divide `batch_size`.
    """
    assert batch_size % world_size == 0
    part = batch_size // world_size

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return stream_slice(seed, count, step * batch_size + rank * part, part)

    return plan


def evaluation_plan(count: int, batch_size: int, rank: int = 0, world_size: int = 1) -> BatchPlan:
    """Every image once, in the split's order; the last batch is filled up with its last image (see `valid_images`).

    Process `rank` takes every world_size-th batch, so that batches hold the same images at any world size.
    """

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        first = (step * world_size + rank) * batch_size
        ids = np.arange(first, first + batch_size).clip(max=count - 1)
        return ids, np.zeros_like(ids)

    return plan


def valid_images(step: int, count: int, batch_size: int) -> int:
    """How many images of an evaluation step are the split's own and not padding."""
    return max(0, min(batch_size, count - step * batch_size))


def mean_pixel(mean: Channels) -> NDArray[np.uint8]:
    """The training pixels' mean as a pixel, uint8 [3]: what cells take that are hidden before cropping."""
    return np.rint(mean).astype(np.uint8)


def of_one_size(split: Split) -> bool:
    """Whether all images of the split have the same width and height, as the kernels ask."""
    return bool((split.widths == split.widths[0]).all() and (split.heights == split.heights[0]).all())
