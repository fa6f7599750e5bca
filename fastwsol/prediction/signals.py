"""What speaks for a box or against it, beside the class's probability: whether the network finds it again when it looks
at the image in another way, and how clear its map is.

The other looks: at the mirror image; at the image made smaller, on a ground of the mean colour; and by another
localizer.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

import kernels
from fastwsol.dataset.ragged_boxes import gather_boxes, offsets_of
from fastwsol.localizer.localizers import LOCALIZERS, Localizer, LocalizerName
from fastwsol.localizer.localizing import LocalizingModel, NetworkOutputs
from fastwsol.prediction.components import boxes_of_maps

SMALLER = 0.8
"""The side of the smaller image, as a share of the square's side."""


class Signals(NamedTuple):
    """Numbers from 0 to 1 that rise with the chance that a box is right."""

    margin: float
    """The probability of the likeliest class minus that of the next: in the image, or in the box where all boxes of a
    mask are asked for.
    """
    sharpness: float
    """How far the map's cells lie from the middle of its scale, on average: 1 where each cell is at one of its ends."""
    share: float
    """The component's pixels among all that the map keeps."""
    mirrored: float
    """The best IoU with a box that is found in the mirror image."""
    smaller: float
    """The best IoU with a box that is found in the smaller image."""
    other: float
    """The best IoU with a box that another localizer finds for the same class."""


def other_localizer(localizer: Localizer) -> Localizer:
    """The other localizer, whose boxes are compared with those of `localizer`: it needs no training and has a map of
    its own.
    """
    name: LocalizerName = "cam" if localizer.name in ("cam-positive", "mask-cam") else "cam-positive"
    return LOCALIZERS[name]


class Looks(NamedTuple):
    """The maps of the other looks at B images, of the same K classes: [B, K, h, w] each. Of one class: [B, h, w]."""

    mirrored: NDArray[np.float32]
    smaller: NDArray[np.float32]
    other: NDArray[np.float32]


def other_looks(
    model: LocalizingModel, localizer: Localizer, images_N3SS: Tensor, passed: NetworkOutputs, labels_NK: Tensor
) -> Looks:
    """The maps of the other looks; `passed`: of the images as they are, whose normalised mean colour is 0."""

    def maps(name: LocalizerName, of: NetworkOutputs) -> Tensor:
        return torch.stack([model.maps(name, of, labels_NK[:, k]) for k in range(labels_NK.shape[1])], dim=1)

    side = images_N3SS.shape[2]
    margin = round(side * (1 - SMALLER) / 2)
    inner = side - 2 * margin
    small = F.interpolate(images_N3SS, size=(inner, inner), mode="bilinear", antialias=True)
    mirrored = maps(localizer.name, model(images_N3SS.flip(3))).flip(3)
    smaller = maps(localizer.name, model(F.pad(small, (margin, margin, margin, margin))))
    other = maps(other_localizer(localizer).name, passed)
    return Looks(*(each.float().cpu().numpy() for each in (mirrored, smaller, other)))


class WayToCut(NamedTuple):
    """How a localizer's maps become boxes."""

    thresholds: Callable[[NDArray[np.float32]], kernels.Thresholds]
    """Of maps [B, h, w]."""
    scale: kernels.Scale


def signals_of_boxes(
    owners: NDArray[np.int64],
    boxes: NDArray[np.int32],
    probabilities: NDArray[np.float64],
    maps: NDArray[np.float32],
    looks: Looks,
    square: int,
    own: WayToCut,
    other: WayToCut,
) -> list[Signals]:
    """The signals of boxes [M, 4] in the network's square, of the images `owners` [M].

    probabilities: of all classes, [M, classes]; maps: [B, h, w], and `looks`: both of the boxes' class; own, other: how
    the maps of the localizer, and of the other one, are cut.
    """
    best = np.partition(probabilities, -2, axis=1) if probabilities.shape[1] > 1 else probabilities
    margins = best[:, -1] - (best[:, -2] if best.shape[1] > 1 else 0)
    places = boxes.astype(np.float64)
    again = [
        agreement(of_look, square, way.thresholds(of_look), way.scale, owners, where)
        for of_look, way, where in (
            (looks.mirrored, own, places),
            (looks.smaller, own, in_smaller(boxes, square)),
            (looks.other, other, places),
        )
    ]
    shares = shares_of(maps, square, own.thresholds(maps), own.scale, owners, boxes)
    columns = margins, sharpness(maps, own.scale)[owners], shares, *again
    return [Signals(*map(float, row)) for row in zip(*columns, strict=True)]


def agreement(
    maps: NDArray[np.float32],
    square: int,
    threshold: kernels.Thresholds,
    scale: kernels.Scale,
    owners: NDArray[np.int64],
    boxes: NDArray[np.float64],
) -> NDArray[np.float64]:
    """The best IoU of each box [M, 4], of the images `owners` [M], with a component's of its image's map [B, h, w]; 0
    where the map keeps nothing. All in the network's square.
    """
    found = boxes_of_maps(maps, square, threshold, "all", scale)
    offsets = offsets_of(np.bincount(found.owners, minlength=len(maps)))
    truths, starts = gather_boxes(found.boxes.astype(np.float32), offsets, owners)
    if not len(owners):
        return np.zeros(0)
    return np.nan_to_num(kernels.best_iou(boxes.astype(np.float32), truths, starts), nan=0.0)


def in_smaller(boxes: NDArray[np.int32], square: int) -> NDArray[np.float64]:
    """Where boxes [M, 4] of the square lie when the image is shown smaller."""
    margin = round(square * (1 - SMALLER) / 2)
    return np.asarray(boxes * ((square - 2 * margin) / square) + margin, np.float64)


def shares_of(
    maps: NDArray[np.float32],
    square: int,
    threshold: kernels.Thresholds,
    scale: kernels.Scale,
    owners: NDArray[np.int64],
    boxes: NDArray[np.int32],
) -> NDArray[np.float64]:
    """The share of each box's component [M] among the pixels that its image's map keeps."""
    found = boxes_of_maps(maps, square, threshold, "all", scale)
    whole = np.bincount(found.owners, found.pixels, minlength=len(maps))
    pixels_of = {
        (owner, *box): count
        for owner, box, count in zip(found.owners.tolist(), found.boxes.tolist(), found.pixels.tolist(), strict=True)
    }
    own = [pixels_of.get((owner, *box), 0) for owner, box in zip(owners.tolist(), boxes.tolist(), strict=True)]
    return np.array(own, np.float64) / np.maximum(whole[owners], 1)


def sharpness(maps: NDArray[np.float32], scale: kernels.Scale) -> NDArray[np.float64]:
    """How far the cells of maps [B, h, w] lie from the middle of their scale: [B]."""
    cells = maps.reshape(len(maps), -1).astype(np.float64)
    if scale == "min-max":
        low, high = cells.min(1, keepdims=True), cells.max(1, keepdims=True)
        cells = (cells - low) / np.maximum(high - low, np.finfo(np.float64).tiny)
    apart: NDArray[np.float64] = np.abs(2 * cells - 1).mean(1)
    return apart
