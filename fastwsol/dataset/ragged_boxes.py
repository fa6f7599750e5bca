"""The boxes of N images, as many an image as it has, end to end in one array."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Objects(NamedTuple):
    """The annotated objects of N images, M in all."""

    boxes: NDArray[np.float32]
    """[M, 4]: x0, y0, x1, y1, half-open, in the pixels of their image."""
    labels: NDArray[np.int64]
    """The class of each: [M]."""
    difficult: NDArray[np.bool_]
    """Which are marked as hard to recognise, as VOC does: [M]."""
    offsets: NDArray[np.int64]
    """[N + 1]: image i has the objects offsets[i] to offsets[i + 1]."""

    def of_rows(self, rows: NDArray[np.int64]) -> "Objects":
        """Those of the images `rows`, in that order."""
        places, offsets = places_of(self.offsets, rows)
        return Objects(self.boxes[places], self.labels[places], self.difficult[places], offsets)

    def of_labels_below(self, count: int) -> "Objects":
        """Those of the first `count` classes."""
        kept = self.labels < count
        return Objects(self.boxes[kept], self.labels[kept], self.difficult[kept], offsets_of(kept)[self.offsets])

    def truths(self, labels: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The boxes [m, 4] that count as ground truth, of the images' own classes `labels` [N] and not difficult, and
        their offsets [N + 1].
        """
        image_of = owners_of(self.offsets)
        counts = (self.labels == labels[image_of]) & ~self.difficult
        numbers = np.bincount(image_of[counts], minlength=len(labels))
        return self.boxes[counts], offsets_of(numbers)


def offsets_of(counts: ArrayLike) -> NDArray[np.int64]:
    """Where the things of each of N images begin, of as many an image as `counts` [N] says: [N + 1], from 0 to all."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def owners_of(offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The image that each of M things belongs to, by the images' `offsets` [N + 1]: [M], in 0..N - 1."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def gather_boxes(
    boxes: NDArray[np.float32], offsets: NDArray[np.int64], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The boxes [m, 4] and offsets [n + 1] of the images `rows` [n], in that order.

    boxes: [M, 4]; offsets: int64 [N + 1], image i has boxes[offsets[i] : offsets[i + 1]].
    """
    places, starts = places_of(offsets, rows)
    return boxes[places], starts


def places_of(offsets: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the boxes of the images `rows` [n] stand, in that order, int64 [m]; and their offsets [n + 1]."""
    first = offsets[rows]
    numbers = offsets[rows + 1] - first
    starts = offsets_of(numbers)
    moved_by = np.repeat(first - starts[:-1], numbers)
    return np.arange(starts[-1]) + moved_by, starts
