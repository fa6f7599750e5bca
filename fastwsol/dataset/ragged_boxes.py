"""The boxes of N images, as many an image as it has, end to end in one array."""

import numpy as np
from numpy.typing import NDArray


def gather_boxes(
    boxes: NDArray[np.float32], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The boxes [m, 4] and offsets [n + 1] of the images `rows` [n], in that order.

    boxes: [M, 4]; offsets: int64 [N + 1], image i has boxes[offsets[i] : offsets[i + 1]].
    """
    numbers = np.diff(offsets)[rows]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(numbers)])
    moved_by = np.repeat(offsets[rows] - starts[:-1], numbers)
    return boxes[np.arange(starts[-1]) + moved_by], starts
