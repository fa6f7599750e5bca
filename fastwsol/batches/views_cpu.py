"""Views of decoded images on the CPU: the kernel `kernels.show_views`, fed from draws, into torch's tensors."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.stream import Stream, mean_pixel
from fastwsol.config import Augmentation, Statistics
from fastwsol.draws import Views
from kernels import Jitter, ViewOptions, show_views


def view_options(augmentation: Augmentation, statistics: Statistics) -> ViewOptions:
    """What the kernel needs to know of a stream's views, or of an image as evaluations see it."""
    bicubic, (mean, std) = augmentation.resampler == "bicubic", statistics
    return ViewOptions(bicubic, augmentation.hides_first, mean_pixel(mean), np.array(mean), np.array(std))


class ViewRenderer:
    """Shows images as a stream's views have it. Safe to share between threads."""

    def __init__(self, stream: Stream, dtype: torch.dtype = torch.float32) -> None:
        augmentation = stream.augmentation
        self._options = view_options(augmentation, stream.statistics)
        assert dtype in (torch.float32, torch.bfloat16)
        self._size, self._halves = augmentation.image_size, dtype == torch.bfloat16

    def room(self, count: int) -> NDArray[Any]:
        """Memory for `count` views: [count, S, S, 3], float32, or uint16 for the bits of bfloat16."""
        shape = (count, self._size, self._size, 3)
        # By torch, which aligns it as the kernel likes it.
        return torch.empty(shape, dtype=torch.uint16 if self._halves else torch.float32).numpy()

    def show(
        self, images: NDArray[np.uint8], ids: NDArray[np.int64], views: Views, part: slice, room: NDArray[Any]
    ) -> None:
        """Fill `part` of `room` with that part of `views`; view k is of images[ids[k]], uint8 [M, H, W, 3]."""
        cells, color = views.cells, views.color
        show_views(
            images,
            ids[part],
            views.windows[part],
            views.flips[part],
            None if cells is None else cells[part],
            None if color is None else Jitter(*(each[part] for each in color)),
            self._options,
            room[part],
        )

    def as_images(self, room: NDArray[Any]) -> torch.Tensor:
        """The views in `room`, which the tensor keeps: [count, 3, S, S] in channels-last memory."""
        views = torch.from_numpy(room)
        return (views.view(torch.bfloat16) if self._halves else views).permute(0, 3, 1, 2)
