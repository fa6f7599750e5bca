"""Fixed boxes as the baselines of a report: which there are, what they are called, and what they hit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.baselines import best_fixed_boxes, whole_image
from fastwsol.evaluation.boxes import ProtocolName, hits_of
from fastwsol.evaluation.choe2020 import WsolevalSweep, fixed_box_ious
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.report_types import FixedBoxRow
from fastwsol.evaluation.truths import Truths
from fastwsol.geometry import to_original

BaselineKind = Literal["whole-image", "best-box"]


@dataclass(frozen=True)
class FixedBox:
    """A baseline that looks at no image: one box for all, int32 [4], in pixels of a square that whole images are
    stretched to, however a network is shown them; and where it is from.
    """

    kind: BaselineKind
    box: NDArray[np.int32]
    origin: str
    iou_threshold: float | None = None
    """At which it hits most of train's images, where it is the best box."""

    @property
    def key(self) -> str:
        """What programs call it."""
        return self.kind if self.iou_threshold is None else f"{self.kind}@{self.iou_threshold}"

    @property
    def name(self) -> str:
        """What a person calls it."""
        return "whole image" if self.iou_threshold is None else f"best box at IoU {self.iou_threshold}"

    def as_json(self) -> FixedBoxRow:
        """What a report says of it, whatever it hits."""
        return {
            "kind": self.kind,
            "key": self.key,
            "name": self.name,
            "iou_threshold": self.iou_threshold,
            "box": self.box.tolist(),
            "from": self.origin,
        }


def fixed_boxes(train: Truths | None, square: int) -> list[FixedBox]:
    """The whole image and, where there are training boxes, for each IoU threshold the box that hits most of them."""
    boxes = [FixedBox("whole-image", whole_image(square), "no choice")]
    if train is not None and len(train.boxes):
        best = best_fixed_boxes(train.in_square(square), train.offsets, square, IOU_THRESHOLDS)
        boxes += [
            FixedBox("best-box", box, "boxes of train", threshold)
            for threshold, box in zip(IOU_THRESHOLDS, best, strict=True)
        ]
    return boxes


def fixed_box_hits(
    fixed: FixedBox, truths: Truths, square: int, protocol: ProtocolName, wsoleval: WsolevalSweep | None = None
) -> NDArray[np.bool_]:
    """The hits bool [T, N] of answering `fixed` for every image, under a protocol."""
    if protocol == "wsoleval":
        assert wsoleval is not None
        return hits_of(fixed_box_ious(wsoleval, fixed.box, square), protocol)
    box = np.tile(fixed.box, (len(truths), 1))
    boxes = to_original(box, truths.widths, truths.heights, square)
    return hits_of(truths.ious(boxes, protocol), protocol)
