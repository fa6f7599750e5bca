"""Boxes of a few training images as further supervision of the mask head: beside weak supervision, and named as that.

A mask is to touch every row and column of its box's cells, and no cell outside of it (the projection terms of BoxInst,
Tian et al. 2021, with cross-entropy).
"""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.drawn_ahead import DrawExtra
from fastwsol.batches.stream import BatchPlan, Stream, training_plan
from fastwsol.config import Fit
from fastwsol.dataset.shards import Split
from fastwsol.draws import ids_of_each_class
from fastwsol.geometry import shown_windows
from fastwsol.host.errors import UserError

NO_BOX = -1.0
LEAST_SHARE = 0.25
"""Of the images of a batch, that have boxes: where those are fewer among all, a batch is filled up with them."""


def boxes_of_few(split: Split, per_class: int, fit: Fit) -> NDArray[np.float32]:
    """The box around the objects of `per_class` images of each class, as shares of what is shown of each image: [N, 4],
    `NO_BOX` for the others. Images are drawn, the same for all seeds, from those whose box is shown at least in part.

    Raises UserError where a class has no such image.
    """
    found = _shown_boxes(split, fit)
    with_boxes = np.flatnonzero(found[:, 0] != NO_BOX)
    missing = np.setdiff1d(split.labels, split.labels[with_boxes])
    if len(missing):
        raise UserError(
            f"--boxes-per-class {per_class}: no training image of {len(missing)} classes has a box; pack the set with "
            f"boxes of its training images, or leave the flag out"
        )
    ids = with_boxes[ids_of_each_class(split.labels[with_boxes], per_class)]
    drawn = np.full_like(found, NO_BOX)
    drawn[ids] = found[ids]
    return drawn


def _shown_boxes(split: Split, fit: Fit) -> NDArray[np.float32]:
    """The box around the objects of every image, as shares of what is shown of it: [N, 4], `NO_BOX` where it has none,
    or none that is shown.
    """
    shown = shown_windows(fit, split.widths, split.heights).astype(np.float32)
    found = np.full((len(split), 4), NO_BOX, np.float32)
    rows = np.flatnonzero(np.diff(split.box_offsets) > 0)
    if not len(rows):
        return found
    firsts, windows = split.box_offsets[rows], shown[rows]
    around = np.hstack(
        [np.minimum.reduceat(split.boxes[:, :2], firsts), np.maximum.reduceat(split.boxes[:, 2:], firsts)]
    )
    boxes = np.clip((around - windows[:, [0, 1, 0, 1]]) / windows[:, [2, 3, 2, 3]], 0, 1)
    is_shown = (boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])
    found[rows[is_shown]] = boxes[is_shown]
    return found


def plan_with_boxes(
    seed: int, boxes_N4: NDArray[np.float32], batch_size: int, rank: int = 0, world_size: int = 1
) -> tuple[BatchPlan, float]:
    """The stream of a head's batches, and the share of their images that have boxes. It is the stream of all images
    where at least `LEAST_SHARE` of them have boxes; else so many images of each batch, rounded up, are taken from those
    with boxes, all of which come in turn. boxes: see `boxes_of_few`; the rest as of `training_plan`, but that processes
    take a batch's images in turn.
    """
    with_boxes, count = np.flatnonzero(boxes_N4[:, 0] != NO_BOX), len(boxes_N4)
    share = len(with_boxes) / count
    if share >= LEAST_SHARE:
        return training_plan(seed, count, batch_size, rank, world_size), share
    filled_up = math.ceil(LEAST_SHARE * batch_size)
    of_all = training_plan(seed, count, batch_size)
    of_those = training_plan(seed, len(with_boxes), filled_up)
    part = slice(rank, None, world_size)  # so that each process has some of them

    def plan(step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        (ids, epochs), (places, rounds) = of_all(step), of_those(step)
        ids[-filled_up:], epochs[-filled_up:] = with_boxes[places], rounds
        return ids[part], epochs[part]

    return plan, (filled_up + (batch_size - filled_up) * share) / batch_size


def boxes_of_views(boxes_N4: NDArray[np.float32], stream: Stream) -> DrawExtra:
    """The boxes of a stream's views, which are whole images and their mirror images: float32 [B, 4]. boxes: of all
    images of its split (`boxes_of_few`).
    """

    def draw(ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.float32]:
        x0, y0, x1, y1 = boxes_N4[ids].T
        mirrored = stream.views(ids, epochs).flips.astype(bool) & (x0 != NO_BOX)
        return np.stack([np.where(mirrored, 1 - x1, x0), y0, np.where(mirrored, 1 - x0, x1), y1], axis=1)

    return draw


def box_loss(mask_NHW: Tensor, boxes_N4: Tensor, share: float) -> Tensor:
    """The loss of masks in 0..1 beside boxes in shares of the image; 0 where none has one.

    share: of the images of batches that have one. The losses' sum is divided by as many as a batch has by it, so that
    several processes' mean is that of the whole batch.
    """
    height, width = mask_NHW.shape[1:]
    columns = _cells(boxes_N4[:, 0::2], width)
    rows = _cells(boxes_N4[:, 1::2], height)
    outside = 1 - rows[:, :, None] * columns[:, None, :]
    mask = mask_NHW.clamp(1e-6, 1 - 1e-6)
    away = (-torch.log1p(-mask) * outside).sum((1, 2)) / outside.sum((1, 2)).clamp(min=1)
    across = _cross_entropy(mask.amax(1), columns).mean(1)
    down = _cross_entropy(mask.amax(2), rows).mean(1)
    has_box = (boxes_N4[:, 0] != NO_BOX).float()
    return ((away + across + down) * has_box).mean() / share


def _cross_entropy(shares: Tensor, targets: Tensor) -> Tensor:
    """Of shares within 0..1, elementwise. (torch's own ends a process on a GPU where one is NaN, which a training is to
    say itself.)
    """
    return -targets * shares.log() - (1 - targets) * torch.log1p(-shares)


def _cells(ends_N2: Tensor, count: int) -> Tensor:
    """Which of so many cells in a row a span of shares reaches with their middle, at least the one in its own middle:
    float [N, count].
    """
    middles = (torch.arange(count, device=ends_N2.device) + 0.5) / count
    inside = (middles >= ends_N2[:, :1]) & (middles < ends_N2[:, 1:])
    own = (ends_N2.mean(1, keepdim=True) * count).long().clamp(0, count - 1)
    return inside.float().scatter(1, own, 1.0)
