"""A split of a packed set as labelled images."""

import itertools
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastwsol.dataset.shards import Split
from fastwsol.formats.labelled_images import LabelledImage, LabelledObject
from fastwsol.sources.mask_images import at_size, read_mask
from kernels.pixels import OBJECT


def labelled_split(split: Split, predicted: bool = False) -> Iterator[LabelledImage]:
    """The images of a split, in its order. The only object of an image's own class has the image's mask; of several
    each has what is in its box. predicted: whether the set's boxes are predictions.
    """
    objects = split.objects
    for index, name in enumerate(split.names(range(len(split)))):
        size = int(split.widths[index]), int(split.heights[index])
        label = int(split.labels[index])
        packed = split.mask(index)
        mask = None if packed is None else cache(partial(_mask, packed, size))  # decoded once for all objects
        found = []
        rows = range(int(objects.offsets[index]), int(objects.offsets[index + 1]))
        is_only = int((objects.labels[rows.start : rows.stop] == label).sum()) == 1
        for k in rows:
            x0, y0, x1, y1 = (float(str(edge)) for edge in objects.boxes[k])  # the shortest decimals of a float32
            of_class = int(objects.labels[k])
            found.append(
                LabelledObject(
                    of_class,
                    (x0, y0, x1, y1),
                    mask=None
                    if mask is None or of_class != label
                    else partial(_in_box, mask, None if is_only else (x0, y0, x1, y1)),
                    difficult=bool(objects.difficult[k]),
                )
            )
        encoded = partial(split.image, index)
        yield LabelledImage(name, *size, tuple(found), label, mask=mask, encoded=encoded, of_predicted_set=predicted)


class DividedMasks(NamedTuple):
    """What becomes of masks of images with several objects of their class: a packed set keeps one mask an image."""

    shared: int = 0
    """Objects that have pixels of another one's mask in theirs, since their boxes overlap where it has pixels."""
    outside: int = 0
    """Masks with pixels in none of the boxes."""


def divided_masks(split: Split) -> DividedMasks:
    """How often dividing the masks of a split among objects goes wrong."""
    of_all, outside = 0, 0
    for index in np.flatnonzero(split.has_mask & (np.diff(split.objects.offsets) > 1)).tolist():
        rows = slice(*split.objects.offsets[index : index + 2])
        own = split.objects.labels[rows] == split.labels[index]
        boxes = _pixels_of(split.objects.boxes[rows][own])
        packed, shared = split.mask(index), set[int]()
        if packed is None or len(boxes) < 2:
            continue
        pixels = _mask(packed, (int(split.widths[index]), int(split.heights[index]))) == OBJECT
        left = pixels.copy()
        for one, other in itertools.combinations(range(len(boxes)), 2):
            x0, y0 = np.maximum(boxes[one, :2], boxes[other, :2])
            x1, y1 = np.minimum(boxes[one, 2:], boxes[other, 2:])
            if x0 < x1 and y0 < y1 and pixels[y0:y1, x0:x1].any():
                shared |= {one, other}
        for x0, y0, x1, y1 in boxes:
            left[y0:y1, x0:x1] = False
        of_all, outside = of_all + len(shared), outside + bool(left.any())
    return DividedMasks(of_all, outside)


def _pixels_of(boxes: NDArray[np.float32]) -> NDArray[np.int64]:
    """The pixels that boxes [N, 4] reach, half-open."""
    return np.maximum(np.concatenate([np.floor(boxes[:, :2]), np.ceil(boxes[:, 2:])], axis=1), 0).astype(np.int64)


def _mask(packed: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """A packed mask at the size of its image: the benchmark's may have another."""
    return at_size(read_mask(packed), size)


def _in_box(mask: Callable[[], NDArray[np.uint8]], box: tuple[float, float, float, float] | None) -> NDArray[np.bool_]:
    """What a mask keeps, in a box, or None: everywhere."""
    pixels = mask()
    if box is None:
        return pixels == OBJECT
    ((x0, y0, x1, y1),) = _pixels_of(np.array([box], np.float32))
    inside = np.zeros(pixels.shape, np.bool_)
    inside[y0:y1, x0:x1] = pixels[y0:y1, x0:x1] == OBJECT
    return inside
