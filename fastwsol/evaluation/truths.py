"""What images are known to show: their sizes and ground-truth boxes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.config import Fit
from fastwsol.dataset.ragged_boxes import gather_boxes, owners_of
from fastwsol.dataset.shards import Split
from fastwsol.evaluation.boxes import BoxProtocol, CurveHits, curve_hits, localize, score_boxes
from fastwsol.evaluation.choe2020 import truths_in_map
from fastwsol.geometry import Size, shown_windows, to_square


@dataclass(frozen=True)
class Truths:
    """What N images are known to show."""

    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    """[N], pixels of the original images."""
    boxes: NDArray[np.float32]
    """[M, 4], half-open, in original pixels."""
    offsets: NDArray[np.int64]
    """[N + 1]: image n has boxes[offsets[n] : offsets[n + 1]]."""
    fit: Fit = "stretch"
    """How the images are shown to the network."""

    @staticmethod
    def of_split(split: Split, fit: Fit = "stretch") -> Truths:
        """Of a split's images, in its order."""
        return Truths(split.widths, split.heights, split.boxes, split.box_offsets, fit)

    def __len__(self) -> int:
        return len(self.widths)

    @cached_property
    def has_boxes(self) -> NDArray[np.bool_]:
        """Which images have ground truth: [N]."""
        return np.diff(self.offsets) > 0

    def digest(self) -> str:
        """SHA-256 of sizes and boxes: equal where two evaluations measured against the same."""
        arrays = (self.widths, self.heights, self.boxes, self.offsets)
        return hashlib.sha256(b"".join(np.ascontiguousarray(each).tobytes() for each in arrays)).hexdigest()

    def of_rows(self, rows: NDArray[np.int64]) -> Self:
        """The images `rows`, in that order."""
        boxes, offsets = gather_boxes(self.boxes, self.offsets, rows)
        return replace(self, widths=self.widths[rows], heights=self.heights[rows], boxes=boxes, offsets=offsets)

    @cached_property
    def shown(self) -> ShownTruths:
        """What the network is shown, as images of their own: under crop the middle squares. Boxes reach outside of them
        where they are cut off, so that an IoU stays what it is in the original image.
        """
        if self.fit == "stretch":
            return ShownTruths(self.widths, self.heights, self.boxes, self.offsets)
        windows = shown_windows(self.fit, self.widths, self.heights)
        boxes = self.boxes - self.origins[self._image_of_box][:, [0, 1, 0, 1]]
        return ShownTruths(windows[:, 2], windows[:, 3], boxes, self.offsets)

    @cached_property
    def origins(self) -> NDArray[np.float32]:
        """Where the shown part of each image begins, x and y in original pixels: [N, 2]."""
        return shown_windows(self.fit, self.widths, self.heights)[:, :2].astype(np.float32)

    @property
    def images_cut(self) -> int:
        """How many images have a box that reaches out of what is shown. Where that is the whole of each, none has."""
        if self.fit == "stretch":
            return 0
        shown = self.shown
        ends = np.stack([shown.widths, shown.heights], axis=1)[self._image_of_box]
        cut = (shown.boxes[:, :2] < 0).any(axis=1) | (shown.boxes[:, 2:] > ends).any(axis=1)
        return len(np.unique(self._image_of_box[cut]))

    def ious(self, boxes: NDArray[np.float32], protocol: BoxProtocol) -> NDArray[np.float64]:
        """The IoU of a box an image with the best of its boxes; see `fastwsol.evaluation.boxes.score_boxes`."""
        return score_boxes(boxes, self.boxes, self.offsets, protocol)

    def object_shares(self) -> NDArray[np.float64]:
        """The share of each image that its largest box covers: float64 [N], NaN without a box."""
        sides = (self.boxes[:, 2:] - self.boxes[:, :2]).astype(np.float64)
        shares = np.full(len(self), np.nan)
        areas = np.maximum(sides, 0).prod(axis=1) / (self.widths.astype(np.float64) * self.heights)[self._image_of_box]
        np.fmax.at(shares, self._image_of_box, areas)
        return shares

    def in_square(self, size: Size) -> NDArray[np.float32]:
        """`boxes` in the square that every whole image is stretched to."""
        return to_square(self.boxes, self.widths[self._image_of_box], self.heights[self._image_of_box], size)

    def in_wsoleval_map(self, side: int) -> NDArray[np.int64]:
        """`boxes` as the older evaluator has them in its maps of `side` pixels."""
        return truths_in_map(self.boxes, self.widths[self._image_of_box], self.heights[self._image_of_box], side)

    @cached_property
    def _image_of_box(self) -> NDArray[np.int64]:
        return owners_of(self.offsets)


class ShownTruths(Truths):
    """What N images are known to show, as far as the network is shown them: its maps cover them whole."""

    def localize(
        self,
        maps: NDArray[np.float32],
        protocol: BoxProtocol,
        size: Size,
        threshold: kernels.Thresholds,
        scale: kernels.Scale,
    ) -> NDArray[np.float32]:
        """A box an image, float32 [N, 4], of its map; see `fastwsol.evaluation.boxes.localize`."""
        return localize(maps, protocol, size, self.widths, self.heights, threshold, scale)

    def curve_hits(self, maps: NDArray[np.float32], size: Size, scale: kernels.Scale) -> CurveHits:
        """The hits of maps at all levels; see `fastwsol.evaluation.boxes.curve_hits`."""
        return curve_hits(maps, size, self.widths, self.heights, self.boxes, self.offsets, scale)
