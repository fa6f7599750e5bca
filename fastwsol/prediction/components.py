"""The connected components of maps, and which of them is a class's, as boxes in the network's square."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.dataset.ragged_boxes import owners_of

WhichBoxes = Literal["largest", "all"]


class Components(NamedTuple):
    """The M components of a batch's maps, which are one for all classes, image by image."""

    owners: NDArray[np.int64]
    """Which image each is of: [M]."""
    boxes: NDArray[np.int32]
    """[M, 4], in the square."""
    peaks: NDArray[np.float64]
    """[M]."""
    pixels: NDArray[np.int64]
    """[M], of the square."""
    classes: NDArray[np.float64]
    """The probability of each class inside: [M, classes]."""

    def likeliest_of(
        self, labels: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float64]]:
        """Owners, boxes and peaks of the k-th of each image's `labels` [B, K]: of its components the one inside which
        the class is likeliest, the first of equals.
        """
        of_label = np.take_along_axis(self.classes, labels[self.owners, k : k + 1], axis=1)[:, 0]
        by_probability = np.lexsort((-of_label, self.owners))
        rows = by_probability[np.unique(self.owners[by_probability], return_index=True)[1]]
        return self.owners[rows], self.boxes[rows], self.peaks[rows]

    def objects(self, known: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The components that are taken for objects, and the class that is likeliest inside each: rows and labels, both
        [K]. known: of each image the class whose objects alone are asked for, or -1, [B]. A speck is none: it has less
        than `SPECK` of the pixels of its image's largest component.
        """
        largest = np.zeros(self.owners.max(initial=-1) + 1, np.int64)
        np.maximum.at(largest, self.owners, self.pixels)
        labels = self.classes.argmax(axis=1)
        asked = known[self.owners]
        rows = np.flatnonzero((self.pixels >= SPECK * largest[self.owners]) & ((asked < 0) | (labels == asked)))
        return rows, labels[rows]

    def classes_of_objects(self, known: NDArray[np.int64]) -> NDArray[np.int64]:
        """The classes that each image has `objects` of, in label order: [B, K], K that of the image with most of them;
        an image with fewer has -1 behind them.
        """
        rows, labels = self.objects(known)
        pairs = np.unique(np.stack([self.owners[rows], labels], axis=1), axis=0)
        counts = np.bincount(pairs[:, 0], minlength=len(known))
        places = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
        found = np.full((len(known), counts.max(initial=1)), -1)
        found[pairs[:, 0], places] = pairs[:, 1]
        return found


SPECK = 0.2
"""The share of the largest component's pixels below which another is no object of its own."""


def least_score_of_objects(classes: int) -> float:
    """The score below which a component is no object, where nothing else is asked for: twice what chance gives a class
    of so many, and half at most. It is the score that counts, so that a faint mask of a sure class goes too.
    """
    return min(0.5, 2 / classes)


class MapBoxes(NamedTuple):
    """Boxes of maps: which map each is of [M], the box [M, 4] in the square, the greatest value in it of the map on its
    scale [M], and the component's pixels [M].
    """

    owners: NDArray[np.int64]
    boxes: NDArray[np.int32]
    peaks: NDArray[np.float64]
    pixels: NDArray[np.int64]


def boxes_of_maps(
    maps: NDArray[np.float32],
    square: int,
    threshold: kernels.Thresholds,
    which: WhichBoxes,
    scale: kernels.Scale,
) -> MapBoxes:
    """Boxes of maps [N, h, w], upsampled to `square` pixels a side, by the protocol `strict`. A constant map that is
    min-max scaled has none.
    """
    boxes, pixels, peaks, offsets = kernels.cam_component_boxes(maps, square, threshold, scale)
    owners = owners_of(offsets)
    if which == "largest":
        # Stably: of components with as many pixels the one whose first pixel comes first.
        by_size = np.lexsort((-pixels, owners))
        largest = by_size[offsets[:-1][np.diff(offsets) > 0]]
        owners, boxes, peaks, pixels = owners[largest], boxes[largest], peaks[largest], pixels[largest]
    return MapBoxes(owners, boxes, peaks, pixels.astype(np.int64))
