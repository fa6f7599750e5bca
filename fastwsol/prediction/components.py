"""The connected components of maps, and which of them is a class's, as boxes in the network's square."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import kernels

WhichBoxes = Literal["largest", "all"]


class Components(NamedTuple):
    """The M components of a batch's maps, which are one for all classes."""

    owners: NDArray[np.int64]
    """Which image each is of: [M]."""
    boxes: NDArray[np.int32]
    """[M, 4], in the square."""
    peaks: NDArray[np.float64]
    """[M]."""
    classes: NDArray[np.float64]
    """The probability of each class inside: [M, classes]."""

    def of_class(
        self, labels: NDArray[np.int64], k: int, which: WhichBoxes
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Owners, boxes and peaks of the k-th of each image's `labels` [B, K]: of its components the one inside which
        the class is likeliest, the first of equals; under `all` those inside which it is the likeliest of the K.
        """
        of_labels = np.take_along_axis(self.classes, labels[self.owners], axis=1)  # [M, K]
        if which == "all":
            rows = np.flatnonzero(of_labels.argmax(axis=1) == k)
        else:
            by_probability = np.lexsort((-of_labels[:, k], self.owners))
            rows = by_probability[np.unique(self.owners[by_probability], return_index=True)[1]]
        return self.owners[rows], self.boxes[rows], self.peaks[rows]


def boxes_of_maps(
    cams: NDArray[np.float32],
    square: int,
    threshold: float | NDArray[np.float64],
    which: WhichBoxes,
    scale: kernels.Scale = "min-max",
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
    """Boxes of maps [N, h, w], upsampled to `square` pixels a side, by the protocol `strict`: which map each is of [M],
    the box [M, 4] in the square, and the greatest value in it of the map on its scale: [M]. A constant map that is
    min-max scaled has none.
    """
    boxes, pixels, peaks, offsets = kernels.cam_component_boxes(cams, square, threshold, scale)
    owners = np.repeat(np.arange(len(cams)), np.diff(offsets))
    if which == "largest":
        # Stably: of components with as many pixels the one whose first pixel comes first.
        by_size = np.lexsort((-pixels, owners))
        largest = by_size[offsets[:-1][np.diff(offsets) > 0]]
        owners, boxes, peaks = owners[largest], boxes[largest], peaks[largest]
    return owners, boxes, peaks
