"""Views of decoded images on the CPU: the kernel `kernels.show_views`, fed from draws, into torch's tensors."""

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches import Stream, mean_pixel
from fastwsol.draws import Views
from kernels import Jitter, Look, show_views


class Shower:
    """Shows images as a stream's views have it. Safe to share between threads."""

    def __init__(self, stream: Stream, dtype: torch.dtype = torch.float32) -> None:
        augmentation = stream.augmentation
        self._look = Look(
            augmentation.resampler == "bicubic",
            augmentation.hides_first,
            mean_pixel(stream.mean),
            np.array(stream.mean),
            np.array(stream.std),
        )
        self._size, self._dtype = augmentation.image_size, dtype

    def room(self, count: int) -> torch.Tensor:
        """Memory for `count` views: [count, S, S, 3]."""
        return torch.empty((count, self._size, self._size, 3), dtype=self._dtype)

    def show(
        self, images: NDArray[np.uint8], ids: NDArray[np.int64], views: Views, part: slice, room: torch.Tensor
    ) -> None:
        """Fill `part` of `room` with that part of `views`; view k is of images[ids[k]], uint8 [M, H, W, 3]."""
        cells, color = views.cells, views.color
        show_views(
            images,
            ids[part],
            views.windows[part],
            views.flips[part],
            None if cells is None else cells[part],
            None if color is None else Jitter(color.matrices[part], color.mean_weights[part], color.offsets[part]),
            self._look,
            # NumPy has no bfloat16: the kernel writes its bits.
            (room if self._dtype == torch.float32 else room.view(torch.uint16)).numpy()[part],
        )
