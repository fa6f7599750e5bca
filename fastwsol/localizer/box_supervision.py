"""Boxes of a few training images as further supervision of the mask head: beside weak supervision, and named as that.

A mask is to touch every row and column of its box's cells, and no cell outside of it (the projection terms of BoxInst,
Tian et al. 2021, with cross-entropy).
"""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.stream import Batch, Batches, Inputs, Stream
from fastwsol.config import Fit
from fastwsol.dataset.shards import Split
from fastwsol.draws import holdout_ids, shown_windows
from fastwsol.host.errors import UserError

NO_BOX = -1.0


def boxes_of_few(split: Split, per_class: int, fit: Fit) -> NDArray[np.float32]:
    """The box around the objects of `per_class` images of each class, as shares of what is shown of each image: [N, 4],
    `NO_BOX` for the others. Images are drawn, the same for all seeds, from those with boxes.

    Raises UserError where a class has no image with a box.
    """
    with_boxes = np.flatnonzero(np.diff(split.box_offsets) > 0)
    missing = np.setdiff1d(split.labels, split.labels[with_boxes])
    if len(missing):
        raise UserError(
            f"--boxes-per-class {per_class}: no training image of {len(missing)} classes has a box; pack the set with "
            f"boxes of its training images, or leave the flag out"
        )
    ids = with_boxes[holdout_ids(split.labels[with_boxes], per_class)]
    shown = shown_windows(fit, split.widths, split.heights).astype(np.float32)
    found = np.full((len(split), 4), NO_BOX, np.float32)
    for k in ids.tolist():
        boxes = split.boxes[split.box_offsets[k] : split.box_offsets[k + 1]]
        x, y, width, height = shown[k]
        around = np.array([*boxes[:, :2].min(0), *boxes[:, 2:].max(0)])
        box = np.clip((around - [x, y, x, y]) / [width, height, width, height], 0, 1)
        if box[0] < box[2] and box[1] < box[3]:  # else nothing of it is shown
            found[k] = box
    return found


class BatchesWithBoxes(Batches):
    """The batches of a stream of whole images and their mirror images, from step `start` on, with the boxes of their
    images behind the labels: float32 [B, 5].
    """

    def __init__(self, batches: Batches, stream: Stream, boxes: NDArray[np.float32], start: int) -> None:
        self._batches, self._stream, self._boxes, self._step = batches, stream, boxes, start

    def __next__(self) -> Batch:
        batch = next(self._batches)
        boxes = self._next_boxes().to(batch.labels.device)
        return Batch(batch.images, _joined(batch.labels, boxes), batch.ids)

    def take(self) -> Inputs:
        taken = self._batches.take()
        device = next(iter(taken.values())).device
        return taken | {"boxes": self._next_boxes().to(device)}

    def show(self, taken: Inputs) -> tuple[Tensor, Tensor]:
        images, labels = self._batches.show({name: each for name, each in taken.items() if name != "boxes"})
        return images, _joined(labels, taken["boxes"])

    def _next_boxes(self) -> Tensor:
        ids, epochs = self._stream.plan(self._step)
        self._step += 1
        flips = self._stream.views(ids, epochs).flips.astype(bool)
        boxes = self._boxes[ids].copy()
        mirrored = flips & (boxes[:, 0] != NO_BOX)
        boxes[mirrored] = np.stack(
            [1 - boxes[mirrored, 2], boxes[mirrored, 1], 1 - boxes[mirrored, 0], boxes[mirrored, 3]], axis=1
        )
        return torch.from_numpy(boxes)


def _joined(labels: Tensor, boxes: Tensor) -> Tensor:
    return torch.cat([labels[:, None].float(), boxes], dim=1)


def box_loss(mask_NHW: Tensor, boxes_N4: Tensor, share: float) -> Tensor:
    """The loss of masks in 0..1 beside boxes in shares of the image; 0 where none has one.

    share: of all images that have one. The losses' sum is divided by as many as a batch has by it, so that several
    processes' mean is that of the whole batch.
    """
    height, width = mask_NHW.shape[1:]
    columns = _cells(boxes_N4[:, 0::2], width)
    rows = _cells(boxes_N4[:, 1::2], height)
    outside = 1 - rows[:, :, None] * columns[:, None, :]
    mask = mask_NHW.clamp(1e-6, 1 - 1e-6)
    away = (-torch.log1p(-mask) * outside).sum((1, 2)) / outside.sum((1, 2)).clamp(min=1)
    across = F.binary_cross_entropy(mask.amax(1), columns, reduction="none").mean(1)
    down = F.binary_cross_entropy(mask.amax(2), rows, reduction="none").mean(1)
    has_box = (boxes_N4[:, 0] != NO_BOX).float()
    return ((away + across + down) * has_box).mean() / share


def _cells(ends_N2: Tensor, count: int) -> Tensor:
    """Which of so many cells in a row a span of shares reaches with their middle, at least the one in its own middle:
    float [N, count].
    """
    middles = (torch.arange(count, device=ends_N2.device) + 0.5) / count
    inside = (middles >= ends_N2[:, :1]) & (middles < ends_N2[:, 1:])
    own = (ends_N2.mean(1, keepdim=True) * count).long().clamp(0, count - 1)
    return inside.float().scatter(1, own, 1.0)
